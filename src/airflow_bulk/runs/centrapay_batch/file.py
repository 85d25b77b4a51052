"""The file of a Centrapay batch: the task checks it, and makes a signed URL by which Centrapay can fetch it.

Centrapay fetches the file from its store, so no line can be left out: a record that breaks a rule is logged with its
line number, and Centrapay judges it, too. The URL is a secret: it is masked in all logs before it is passed on.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from airflow.sdk.exceptions import AirflowFailException

from airflow_bulk.arguments import ArgumentError
from airflow_bulk.documents.source.cuts import Layout
from airflow_bulk.documents.source.files import UNSENT, FoundFile, find_files
from airflow_bulk.documents.source.parts import NothingFound, SourceError
from airflow_bulk.documents.source.reader import LineRules
from airflow_bulk.documents.source_check import SourceCheck
from airflow_bulk.judging import how_many
from airflow_bulk.platforms import centrapay as api
from airflow_bulk.runs.upload import planning
from airflow_bulk.runs.upload.progress import SendingProgress

if TYPE_CHECKING:
    from airflow_bulk.runs.centrapay_batch.arguments import CentrapayBatchArguments

log = logging.getLogger(__name__)

#: How many bytes of the file are in memory at a time during the check; no line may be longer.
WINDOW = 16_000_000
#: The shortest value in a query that is masked by itself: masking shorter ones would hide half of every log.
LEAST_SECRET = 12


def mask_url(url: str) -> None:
    """Mask a URL's query and password, and every long value in the query, in all logs of this task from now on."""
    from airflow.sdk.log import mask_secret

    if password := urlsplit(url).password:
        mask_secret(password)
    query = urlsplit(url).query
    if not query:
        return
    mask_secret(query)
    for _, value in parse_qsl(query):
        if len(value) >= LEAST_SECRET:
            mask_secret(value)


class CentrapayFile:
    """The file, or the URL, of a batch.

    :param args: the arguments of the task.
    """

    def __init__(self, args: CentrapayBatchArguments) -> None:
        self._args = args
        self._url = args.url
        self._found: FoundFile | None = None
        #: Of the file when it was found; empty before, and for a URL.
        self.fingerprint = ""
        self._check: SourceCheck | None = None

    @property
    def url(self) -> str:
        """The URL to send; :meth:`sign` makes it."""
        if self._url is None:
            raise RuntimeError("a file has a URL once it was signed")
        return self._url

    def check(self, name: str) -> planning.SourcePlan | None:
        """Check the file's records and judge the result of the check; return None where nothing is checked.

        :param name: the name of the file of rejected lines.
        :raises SourceError: the file cannot be used, or cannot be read to its end.
        :raises AirflowFailException: more records break a rule than ``max_failures`` allows, or the file has no record.
        """
        if self._args.file is None:
            return None
        found = self._found = self.find()
        plan = planning.fingerprint([found])
        self.fingerprint = plan.fingerprint
        if not self._args.checked:
            return None
        rejects = planning.reject_file(self._args, name)
        try:
            check = self._check = SourceCheck(
                [found],
                LineRules(document_type=self._args.batch_type, mime_type=self._args.mime_type),
                Layout(max_part_bytes=WINDOW),
                rejects=rejects,
                on_part=SendingProgress().checked,
            )
            with planning.before_sending():
                check.run()
            plan.add_up(check.parts)
            plan.rejects_uri = rejects.finish() if rejects is not None else ""
        finally:
            self._check = None
            if rejects is not None:
                rejects.discard()  # a file that is finished stays
        planning.judge_checked(self._args, plan, check.totals)
        if not plan.lines_read:
            raise AirflowFailException(
                f"{found.record.uri} holds no record. Nothing was sent, and a retry is left out: put records into the "
                "file."
            )
        if plan.rejected:
            log.warning(
                "%s against a rule stay in the file: Centrapay judges them, too.",
                how_many(plan.rejected, "record"),
            )
        return plan

    def find(self) -> FoundFile:
        """Find the file.

        :raises SourceError: it is not there, or cannot be used.
        """
        try:
            files = find_files(
                self._args.file or "",
                planning.open_path,
                mime_type=self._args.mime_type,
                check_extension=self._args.batch_type in api.BATCH_TYPES,
                local_hint=planning.ON_THIS_WORKER,
            )
        except NothingFound as error:
            raise SourceError(f"{error} {UNSENT}") from None
        if len(files) != 1:
            raise ArgumentError("file", f"is {len(files)} files, and a batch takes one")
        record = files[0].record
        if record.compression:
            raise ArgumentError(
                "file", f"({record.uri}) is compressed; nothing says that Centrapay unpacks files"
            )
        if record.local and not self._args.dry_run:
            raise ArgumentError(
                "file",
                f"({record.uri}) is on this machine, where Centrapay cannot fetch it: put it into an object store, or "
                "give a url",
            )
        return files[0]

    def sign(self) -> float | None:
        """Have the store make a URL, mask it, and return when it stops working, in seconds since 1970.

        :raises ArgumentError: the store makes no signed URL, or the URL that was given has expired.
        """
        if self._found is None:
            until = api.expiry(self.url)
            if until is not None and until <= time.time():
                raise ArgumentError(
                    "url", f"({api.bare(self.url)}) stopped working at {api.clock_time(until)}"
                )
            return until
        path: Any = self._found.path
        expires = time.time() + self._args.url_expires_in
        try:
            url = str(path.fs.sign(path.path, expiration=int(self._args.url_expires_in)))
        except NotImplementedError:
            raise ArgumentError(
                "file", f"({self._found.record.uri}) lies in a store that makes no signed URLs: give a url"
            ) from None
        mask_url(url)
        self._url = url
        log.info(
            "Centrapay will fetch %s, until %s.", api.bare(url), api.clock_time(api.expiry(url) or expires)
        )
        return api.expiry(url) or expires

    def cut(self) -> None:
        """Stop the check at once; may be called in a signal handler."""
        if self._check is not None:
            self._check.stop()
