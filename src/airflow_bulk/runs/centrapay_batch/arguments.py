"""The arguments of a Centrapay batch, read once when the task runs."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_bulk import arguments as read
from airflow_bulk.arguments import ArgumentError, read_tolerance
from airflow_bulk.judging import Tolerance
from airflow_bulk.platforms import centrapay as api

log = logging.getLogger(__name__)

#: The longest that S3 and Google sign a URL for: seven days.
LONGEST_SIGNED = 7 * 86_400.0


@dataclass(frozen=True, kw_only=True)
class CentrapayBatchArguments:
    """The arguments of a batch task; every value has its own type and was checked. No repr shows the URL, a secret.

    :param url_expires_in: how many seconds the signed URL of ``file`` works.
    :param checked: whether the lines are checked: the type is known, and the check was not turned off.
    """

    batch_type: str
    account_id: str | None
    file: str | None
    url: str | None
    url_expires_in: float
    test: bool | None
    tolerance: Tolerance
    rejects_path: str | None
    checked: bool
    dry_run: bool
    on_clear: str
    repeat_lost_post: bool
    wait_for_completion: bool
    poll_interval: float
    timeout: float

    def __repr__(self) -> str:
        return f"CentrapayBatchArguments({self.batch_type!r}, file={self.file!r})"

    @property
    def mime_type(self) -> str:
        """The format of the file: JSON Lines, or CSV with a header (centrapay.md section 6)."""
        return "TEXT_CSV" if self.batch_type in api.CSV_TYPES else "APPLICATION_X_NDJSON"

    @property
    def rejects_content(self) -> str:
        """What the file of rejected lines holds: positions, since the lines themselves stay in the batch's file."""
        return "position"


def read_arguments(given: Mapping[str, Any], url: str | None) -> CentrapayBatchArguments:
    """Read an operator's arguments after its templates were rendered.

    :param given: by the operator's own argument names.
    :param url: the rendered URL; not among *given*, since it is a secret.
    :raises ArgumentError: naming the field.
    """
    batch_type = read.text("type", given["type"])
    if batch_type not in api.BATCH_TYPES:
        log.warning(
            "%r is no batch type that this package knows (%s): the file is not checked, Centrapay decides.",
            batch_type,
            ", ".join(api.BATCH_TYPES),
        )
    file, url = read.optional_text("file", given["file"]), read.optional_text("url", url)
    if (file is None) == (url is None):
        raise ArgumentError(
            "file", f"or url must be given, and not both; {'neither is' if file is None else 'both are'}"
        )
    if url is not None and not url.lower().startswith(("https://", "http://")):
        raise ArgumentError("url", "must begin with https:// (or http://): Centrapay's servers fetch it")
    expires = read.duration("url_expires_in", given["url_expires_in"])
    if expires > LONGEST_SIGNED:
        raise ArgumentError("url_expires_in", "must be at most seven days, the longest that stores sign for")
    dry_run = read.flag("dry_run", given["dry_run"])
    if dry_run and file is None:
        raise ArgumentError("dry_run", "checks a file, and cannot check a url")
    return CentrapayBatchArguments(
        batch_type=batch_type,
        account_id=read.optional_text("account_id", given["account_id"]),
        file=file,
        url=url,
        url_expires_in=expires,
        test=read.optional_flag("test", given["test"]),
        tolerance=read_tolerance(given["max_failures"]),
        rejects_path=read.optional_text("errors_path", given["errors_path"]),
        checked=read.flag("check", given["check"]) and batch_type in api.BATCH_TYPES,
        dry_run=dry_run,
        on_clear=read.choice("on_clear", given["on_clear"], ("import_again", "keep")),
        repeat_lost_post=read.flag("repeat_lost_post", given["repeat_lost_post"]),
        wait_for_completion=read.flag("wait_for_completion", given["wait_for_completion"]),
        poll_interval=read.duration("poll_interval", given["poll_interval"]),
        timeout=read.duration("timeout", given["timeout"]),
    )
