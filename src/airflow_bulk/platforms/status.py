"""The state of remote work, in the same words for all platforms."""

from __future__ import annotations

import enum

import msgspec

from airflow_bulk.platforms.errors import text_id


class RemoteStatus(enum.StrEnum):
    """What a status means for those who wait."""

    PENDING = "pending"  # has not begun: it can still be cancelled, and has taken nothing
    GOING = "running"  # has begun, or has a status that is not documented
    SUCCEEDED = "succeeded"  # over; all its records may have failed all the same
    FAILED = "failed"  # over; it is not known what was taken
    CANCELED = "canceled"  # over, and has taken nothing

    @property
    def over(self) -> bool:
        """Whether nothing more will happen."""
        return self not in (RemoteStatus.PENDING, RemoteStatus.GOING)


class RemoteSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of remote work, such as an execution, as last seen.

    :param id: its id on the platform; a decimal number where the order of two counts.
    :param remote_status: what its status means.
    :param status: the status as the platform wrote it.
    :param lines: how many records it holds, good and bad; None while the platform has not said.
    :param accepted: how many records the platform took; None while it has not said.
    :param failed: how many records the platform refused; None while it has not said.
    :param created: when it was created, in seconds since 1970; None where the platform does not say.
    :param started: when it began, in seconds since 1970; None before, or where the platform does not say.
    :param ended: when it ended, likewise.
    :param unknown: the status is neither documented nor seen before; the log then names it once.
    :param error_file: where its errors can be read, as the result names it; None where there are none.
    :param input_file: where the platform's copy of what was sent can be read; None where it says nothing.
    :param doubtful_identifiers: the platform warns that the identifiers may be wrong.
    :param owner: the organisation that it belongs to, for links.
    :param message: its error, reduced to its kind.
    """

    id: str
    remote_status: RemoteStatus
    status: str
    lines: int | None = None
    accepted: int | None = None
    failed: int | None = None
    created: float | None = None
    started: float | None = None
    ended: float | None = None
    unknown: bool = False
    error_file: str | None = None
    input_file: str | None = None
    doubtful_identifiers: bool = False
    owner: str | None = None
    message: str = ""

    def __post_init__(self) -> None:
        text_id(self.id, "The id of a RemoteSnapshot")
