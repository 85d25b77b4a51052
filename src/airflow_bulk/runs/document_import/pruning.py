"""Which old document imports may be deleted, and their deletion one by one.

An import of a person, or of a run that may go on, must never be among them. So the name tells who made it, the order of the
ids what is newest (mediarithmics.md section 1.7 [assumed]), and its executions how old it is: an import itself has no date
(section 2).
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_bulk import arguments as read
from airflow_bulk.arguments import ArgumentError
from airflow_bulk.judging import how_many, id_order
from airflow_bulk.platforms.errors import NotFound, Refused
from airflow_bulk.runs.marking import read_marked

if TYPE_CHECKING:
    from airflow_bulk.hooks.mediarithmics import MediarithmicsHook
    from airflow_bulk.platforms.mediarithmics.document_imports import DocumentImport
    from airflow_bulk.platforms.status import RemoteSnapshot

log = logging.getLogger(__name__)

#: Imports that the result names; XCom is no place for thousands.
NAMED = 100

# Why an import is kept; the keys of ``kept`` in the result.
NEWEST = "newest"
NOT_OVER = "not_over"
NO_EXECUTIONS = "no_executions"
TOO_YOUNG = "too_young"


@dataclasses.dataclass(frozen=True, kw_only=True)
class PruneArguments:
    """What may be deleted.

    :param name_prefix: how the names begin.
    :param keep: so many of the newest are kept.
    :param older_than: seconds since anything happened to an import.
    :param dry_run: delete nothing.
    """

    name_prefix: str
    keep: int
    older_than: float
    dry_run: bool

    @classmethod
    def read(cls, given: Mapping[str, Any]) -> PruneArguments:
        """Read the rendered arguments of an operator; raises :class:`ArgumentError`."""
        prefix = given["name_prefix"]
        if not isinstance(prefix, str) or read.optional_text("name_prefix", prefix) is None:
            raise ArgumentError(
                "name_prefix", "must be a text that is not empty: it tells which imports may be deleted"
            )
        return cls(
            # As it is: without a blank at its end it would stand for more names.
            name_prefix=prefix,
            keep=read.integer("keep", given["keep"]),
            older_than=read.duration("older_than", given["older_than"]),
            dry_run=read.flag("dry_run", given["dry_run"]),
        )


def ours(imports: Iterable[DocumentImport], name_prefix: str) -> list[DocumentImport]:
    """The imports that operators of this package have made under such a name, the newest first.

    :param imports: of one datamart, all of them.
    """
    found = {}
    for one in imports:
        marked = read_marked(one.name)
        if marked is not None and marked.name.startswith(name_prefix):
            found[one.id] = one
    return sorted(found.values(), key=lambda one: id_order(one.id), reverse=True)


def why_kept(executions: Sequence[RemoteSnapshot], older_than: float, now: float) -> str | None:
    """Why an import must stay; None where it may go.

    :param executions: all of the import.
    :param older_than: seconds since anything happened to it.
    :param now: seconds since 1970.
    """
    if not executions:
        # Its first upload may be on its way, and nothing tells its age.
        return NO_EXECUTIONS
    if not all(one.remote_status.over for one in executions):
        return NOT_OVER
    times = [one.ended or one.started or one.created for one in executions]
    # Without a date nothing says that it is old.
    if any(when is None or now - when < older_than for when in times):
        return TOO_YOUNG
    return None


class Pruning:
    """One look at a datamart's imports, and what follows from it.

    :param hook: the platform.
    :param datamart_id: the datamart.
    :param args: what may be deleted.
    """

    def __init__(self, hook: MediarithmicsHook, datamart_id: str, args: PruneArguments) -> None:
        self.hook = hook
        self.datamart_id = datamart_id
        self.args = args
        self.kept: Counter[str] = Counter()
        self.gone = 0

    def run(self) -> dict[str, Any]:
        """Delete what may be deleted, or only name it; an earlier try's work is gone already, and so is found no more."""
        # The whole list before the first deletion: a page would begin later in a list that has become shorter
        # (mediarithmics.md section 1.4). ``keywords`` finds less to read; the name itself decides.
        listed = self.hook.list_document_imports(self.datamart_id, keywords=self.args.name_prefix)
        found = ours(listed, self.args.name_prefix)
        self.kept[NEWEST] = len(found[: self.args.keep])
        pruned = [self._named(one) for one in self._prune(found[self.args.keep :][::-1])]
        self._tell(len(found), len(pruned))
        return {
            "dry_run": self.args.dry_run,
            "found": len(found),
            "to_delete" if self.args.dry_run else "deleted": len(pruned),
            "gone_already": self.gone,
            "kept": {why: count for why, count in self.kept.items() if count},
            "imports": pruned[:NAMED],
        }

    def _prune(self, candidates: Sequence[DocumentImport]) -> Iterator[DocumentImport]:
        for one in candidates:
            try:
                # Asked right before the deletion, since a run may have gone on meanwhile.
                executions = self.hook.executions(one.id, self.datamart_id).snapshots()
                why = why_kept(executions, self.args.older_than, time.time())
                if why is None and not self.args.dry_run:
                    why = self._delete(one)
            except NotFound:
                self.gone += 1
                continue
            if why is None:
                log.info(
                    "%s document import %s, %r.",
                    "Would delete" if self.args.dry_run else "Deleted",
                    one.id,
                    one.name,
                )
                yield one
            else:
                self.kept[why] += 1
                log.info("Kept document import %s, %r: %s.", one.id, one.name, why.replace("_", " "))

    def _delete(self, one: DocumentImport) -> str | None:
        """Delete an import; return why it stays all the same."""
        try:
            self.hook.delete_document_import(one.id, self.datamart_id)
        except Refused as error:
            # An execution has begun since the list (section 12, row 16).
            if error.status != 409:
                raise
            return NOT_OVER
        return None

    @staticmethod
    def _named(one: DocumentImport) -> dict[str, str]:
        return {"id": one.id, "name": one.name}

    def _tell(self, found: int, pruned: int) -> None:
        reasons = ", ".join(f"{count} {why.replace('_', ' ')}" for why, count in self.kept.items() if count)
        log.info(
            "%s of this name: %s %d; kept %d%s; gone already %d.%s",
            how_many(found, "import"),
            "would delete" if self.args.dry_run else "deleted",
            pruned,
            self.kept.total(),
            f" ({reasons})" if reasons else "",
            self.gone,
            " Nothing was deleted: dry_run=False deletes." if self.args.dry_run else "",
        )
