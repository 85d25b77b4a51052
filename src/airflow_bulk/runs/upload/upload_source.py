"""Which files an upload sends: those of its arguments, the spool that a function's records are in, or those that no other run has brought."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from airflow_bulk.runs.upload import planning

if TYPE_CHECKING:
    from airflow_bulk.arguments import UploadArguments
    from airflow_bulk.documents.source.files import FoundFile
    from airflow_bulk.runs.seen.selection import SeenFiles
    from airflow_bulk.runs.upload.planning import SourcePlan
    from airflow_bulk.runs.upload.spool import Spool


class UploadSource:
    """The source of an upload, over all its tries.

    :param args: what was asked for.
    :param spool: makes the source by calling a function; None: the source is there.
    :param seen: which files are known across runs; None takes every file.
    :ivar args: what was asked for, with the spool as its source once that is known.
    """

    def __init__(self, args: UploadArguments, spool: Spool | None, seen: SeenFiles | None) -> None:
        self.args, self.seen, self._spool = args, seen, spool

    @property
    def is_new(self) -> bool:
        """Whether this try has called the function: the time that it took is none of the import's."""
        return self._spool is not None and self._spool.fresh

    def find(self, plan: SourcePlan | None) -> tuple[list[FoundFile], SourcePlan]:
        """The files to send as they are now, and what they are known by.

        :param plan: of an earlier try; it has chosen the files.
        :raises SourceError: they cannot be used.
        """
        files = self._look(plan)
        if self.seen is not None and files:
            files = self.seen.choose(files, begun=plan is not None)
        return files, self._fingerprint(files)

    def find_again(self, plan: SourcePlan) -> list[FoundFile]:
        """The files that were sent, to read them once more.

        :raises SourceError: they are gone, or not what they were.
        """
        files = self._look(plan)
        if self.seen is not None:
            files = self.seen.taken(files)
        planning.compare(plan, self._fingerprint(files), spread=bool(self.args.stretches))
        return files

    def find_dry(self) -> tuple[list[FoundFile], SourcePlan]:
        """The files of a dry run, which records nothing."""
        if self._spool is not None:
            self.args = dataclasses.replace(self.args, source=(self._spool.dry_source(),))
        files = self._resolve(may_be_empty=True)
        if self.seen is not None:
            files = self.seen.look(files)
        return files, planning.fingerprint(files)

    def _look(self, plan: SourcePlan | None) -> list[FoundFile]:
        if self._spool is not None:
            uri = self._spool.source(begun=plan is not None)
            self.args = dataclasses.replace(self.args, source=(uri,))
        return self._resolve(may_be_empty=plan is None)

    def _resolve(self, *, may_be_empty: bool) -> list[FoundFile]:
        return planning.find_source(self.args, may_be_empty=may_be_empty, local_hint=planning.ON_THIS_WORKER)

    def _fingerprint(self, files: list[FoundFile]) -> SourcePlan:
        found = planning.fingerprint(files)
        if self._spool is not None:
            found.fingerprint = self._spool.fingerprint
        return found
