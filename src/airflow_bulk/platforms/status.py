"""Where a piece of remote work stands, in words that all platforms share."""

from __future__ import annotations

import enum

import msgspec


class RemoteStatus(enum.StrEnum):
    """What a status means for who waits."""

    PENDING = "pending"  # not begun: can still be cancelled, took nothing
    GOING = "running"  # begun, or a status nobody knows
    SUCCEEDED = "succeeded"  # over; it may still hold nothing but failed records
    FAILED = "failed"  # over; nobody knows what was taken
    CANCELED = "canceled"  # over; took nothing

    @property
    def over(self) -> bool:
        """Nothing more will happen."""
        return self not in (RemoteStatus.PENDING, RemoteStatus.GOING)


class RemoteSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of remote work as last seen.

    :param id: its id on the platform; a decimal number where the order of two counts.
    :param remote_status: what its status means.
    :param status: the status as the platform wrote it.
    :param lines: records it holds, good and bad; None while the platform has not said.
    :param accepted: records taken; None while not said.
    :param failed: records refused by the platform; None while not said.
    :param created: seconds since 1970 of its creation; None when not said.
    :param unknown: the status is in no source; the log then names it once.
    :param error_file: where its errors can be read, as the result names it; None where there are none.
    :param doubtful_identifiers: the platform suspects the identifiers.
    :param owner: the organisation it belongs to, for links.
    :param message: its error, reduced to its kind.
    """

    id: str
    remote_status: RemoteStatus
    status: str
    lines: int | None = None
    accepted: int | None = None
    failed: int | None = None
    created: float | None = None
    unknown: bool = False
    error_file: str | None = None
    doubtful_identifiers: bool = False
    owner: str | None = None
    message: str = ""
