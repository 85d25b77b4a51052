"""Which files of a source an import takes, over all its tries, and when they become known.

The files are chosen once, in a turn that no other import of the ledger shares, and recorded: a later try takes the same ones,
whatever has come or become known since. They become known when the import has ended well, and only then.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from airflow_bulk.documents.source.content_hash import content_hash
from airflow_bulk.judging import how_many
from airflow_bulk.runs.record_copy import identity_hash, is_in_loop
from airflow_bulk.runs.seen.ledger import (
    KnownFile,
    Ledger,
    LedgerStore,
    Scope,
    answered,
    files_asset,
    name_hash,
    pages,
)
from airflow_bulk.runs.seen.turns import Place, Turns

if TYPE_CHECKING:
    from airflow_bulk.arguments import SeenOptions
    from airflow_bulk.documents.source.files import FoundFile
    from airflow_bulk.runs.record import Record
    from airflow_bulk.runs.record_copy import KeyValueStore
    from airflow_bulk.runs.seen.turns import States

log = logging.getLogger(__name__)

#: Files that a message names.
NAMED = 3
#: What is counted of an import, by the names of its result.
COUNTS = ("lines_read", "lines_rejected", "lines_accepted", "lines_failed")


class ChosenFile(msgspec.Struct, frozen=True, array_like=True):
    """A file that the import takes, as it is recorded."""

    name: str
    size: int
    version: str
    content: str


class Chosen(msgspec.Struct, kw_only=True):
    """What was chosen, as recorded; the files themselves stand in pages beside it.

    :param held: what the claim says of them.
    :param left_known: files that were left out, since they are known.
    :param busy: files that were left out, since an import that is not over holds them.
    """

    pages: int
    held: tuple[int, int]
    left_known: int = 0
    busy: int = 0


class SeenFiles:
    """The choice of one import.

    :param options: what was asked for.
    :param record: the task's memory.
    :param store: the state of :func:`~airflow_bulk.runs.seen.ledger.files_asset`.
    :param scope: which ledger.
    :param me: the task instance.
    :param states: asks Airflow for states.
    :param run_after: the moment that the task's run is for; it tells the run from one that was deleted and triggered again
        under its id.
    """

    def __init__(
        self,
        options: SeenOptions,
        record: Record,
        store: KeyValueStore,
        scope: Scope,
        me: Place,
        states: States,
        run_after: object = "",
    ) -> None:
        self._options = options
        self._record = record
        self._ledger = Ledger(store, scope)
        self._me = me
        #: Who brought a file; no clear of the task changes it.
        self._owner = identity_hash(me, run_after)
        life = record.kept("seen_life")
        self._is_new = life is None
        self._life: str = life or uuid.uuid4().hex[:16]
        self._turns = Turns(
            store, scope.key, me, life=self._life, try_number=record.try_number, states=states
        )
        self.left_known = 0
        self.busy = 0

    @classmethod
    def of(cls, context: Any, record: Record, options: SeenOptions, scope: Scope) -> SeenFiles:
        """Open the ledger in a task.

        :raises AirflowFailException: the task's inlets lack the ledger's asset.
        """
        ti = context["ti"]
        if is_in_loop(ti):
            # Airflow tells the state of the newest iteration alone, so nobody could say what an older one still holds.
            raise AirflowFailException(
                f"on_seen={options.on_seen!r} cannot be used in a loop of tasks. Nothing was sent; a retry cannot help until the "
                "DAG is changed: map the task, or put the files of all iterations into one import."
            )
        try:
            store = context["asset_state_store"][files_asset()]
        except KeyError:
            raise AirflowFailException(
                f"on_seen={options.on_seen!r} needs the asset {files_asset().name} among the task's inlets, and it is not "
                "there. The operator adds it where on_seen is given to the operator or to its partial(); it cannot where "
                "on_seen is mapped. Nothing was sent; a retry cannot help."
            ) from None

        def states(dag_id: str, task_id: str, run_id: str | None) -> dict[str, dict[str, str | None]]:
            found: dict[str, dict[str, str | None]] = answered(
                lambda: ti.get_task_states(
                    dag_id=dag_id, task_ids=[task_id], run_ids=None if run_id is None else [run_id]
                )
            )
            return found

        index = -1 if ti.map_index is None else int(ti.map_index)
        place = Place(ti.dag_id, ti.task_id, ti.run_id, index)
        run_after = getattr(context.get("dag_run"), "run_after", "")
        return cls(options, record, LedgerStore(store), scope, place, states, run_after)

    def open(self) -> None:
        """Take over what earlier tries hold; a flag that one of them left raised comes down."""
        if self._is_new:
            self._record.keep("seen_life", self._life)  # written down before anybody can read it elsewhere
            self._is_new = False
        chosen = self._chosen()
        self._turns.held = chosen.held if chosen else (0, 0)
        self.left_known, self.busy = (chosen.left_known, chosen.busy) if chosen else (0, 0)
        self._turns.settle()

    # Choosing.

    def choose(self, files: Sequence[FoundFile], *, begun: bool) -> list[FoundFile]:
        """Return the files that this import takes.

        :param files: what the source holds now.
        :param begun: an earlier try has planned the import, so its files are chosen already.
        :raises AirflowFailException: known files, and ``on_seen="fail"``; or another import has brought files of this one
            while this one was over.
        """
        if not begun:
            return self._choose(files)
        rows = self._rows()
        if rows is None:  # on_seen was given to an import that had begun without it
            rows = [_chosen(one, content_hash(one)) for one in files]
        self._hold_again(rows)
        return self.taken(files)

    def taken(self, files: Sequence[FoundFile]) -> list[FoundFile]:
        """Return the files that were chosen, of those that the source holds now; for who only reads them once more."""
        rows = self._rows()
        names = {one.record.uri for one in files} if rows is None else {row.name for row in rows}
        return [one for one in files if one.record.uri in names]

    def _choose(self, files: Sequence[FoundFile]) -> list[FoundFile]:
        entries = {one.record.uri: self._ledger.find(one.record.uri) for one in files}
        # Read before the turn: others wait while it lasts. What is imported needs its hash anyhow.
        contents = {
            one.record.uri: content_hash(one)
            for one in files
            if not self._is_known(one, entries[one.record.uri])
        }
        known: dict[str, KnownFile] = {}
        busy: dict[str, Place] = {}
        with self._turns.turn():
            # Held is asked before known: an import that ends makes its files known, and only then lets them go.
            held = self._turns.held_by_others() if contents else {}
            for one in files:
                name = one.record.uri
                entry = self._ledger.find(name) if name in contents else entries[name]
                if entry is not None and self._is_known(one, entry, contents.get(name)):
                    known[name] = entry
                elif (place := held.get(name_hash(name))) is not None:
                    busy[name] = place
            self._judge(len(files), known, busy)
            taken = [one for one in files if one.record.uri not in known and one.record.uri not in busy]
            self._turns.hold([name_hash(one.record.uri) for one in taken])
            self._keep_house(files)
        self.left_known, self.busy = len(known), len(busy)
        self._record_choice([_chosen(one, contents[one.record.uri]) for one in taken])
        _tell(len(files), known, busy)
        return taken

    def _is_known(self, file: FoundFile, entry: KnownFile | None, content: str | None = None) -> bool:
        """Whether an entry is of this file as it is now.

        What this task itself has brought counts for nothing: who clears a success wants it imported again.
        """
        if entry is None or entry.owner == self._owner:
            return False
        return entry.is_version(file.record) or (content is not None and content == entry.content)

    def _judge(self, count: int, known: Mapping[str, KnownFile], busy: Mapping[str, Place]) -> None:
        if self._options.on_seen != "fail" or not (known or busy):
            return
        if known:
            raise AirflowFailException(
                f"{len(known)} of {how_many(count, 'file')} of the source are known (on_seen='fail'): "
                f"{_named({name: entry.source_of for name, entry in known.items()})}. Nothing was sent, and a retry is left out. "
                "Take these files out of the source, say on_seen='skip', or have airflow bulk files forget them."
            )
        raise AirflowException(
            f"{len(busy)} of {how_many(count, 'file')} of the source are being imported by others (on_seen='fail'): "
            f"{_named(busy)}. Nothing was sent; a retry looks again."
        )

    def _keep_house(self, files: Sequence[FoundFile]) -> None:
        try:
            self._ledger.begin()
            self._ledger.keep(
                [one.record.uri for one in files], days=self._options.days, most=self._options.files
            )
        except Exception as error:  # noqa: BLE001  (what is forgotten later harms nobody)
            log.warning("Old entries of the ledger were not forgotten this time: %s.", type(error).__name__)

    def _record_choice(self, rows: Sequence[ChosenFile]) -> None:
        """Record what was chosen: a write that is refused to a superseded try, before anything is sent.

        :raises AirflowException: the task was stopped meanwhile.
        """
        count = 0
        for count, page in enumerate(pages(rows), 1):
            self._record.write(f"files.{count - 1}", msgspec.to_builtins(page))
        chosen = Chosen(pages=count, held=self._turns.held, left_known=self.left_known, busy=self.busy)
        self._record.write("files", msgspec.to_builtins(chosen))
        self._must_be_running()

    def _must_be_running(self) -> None:
        if not self._turns.is_running():
            raise AirflowException(
                "This task instance is not running any more, as Airflow has it: somebody has marked it, or its heartbeat was lost. "
                "Its files are left to others, and nothing more is sent; a retry or a clear looks again."
            )

    def _hold_again(self, rows: Sequence[ChosenFile]) -> None:
        """Before more is sent of what was chosen earlier: a task that was over in between has held nothing.

        :raises AirflowFailException: another import has taken files of this one.
        """
        taken: dict[str, str] = {}
        with self._turns.turn():
            held = self._turns.held_by_others()
            for row in rows:
                entry = self._ledger.find(row.name)
                if (
                    entry is not None
                    and entry.owner != self._owner
                    and (
                        (entry.size, entry.version) == (row.size, row.version) or entry.content == row.content
                    )
                ):
                    taken[row.name] = entry.source_of
                elif (place := held.get(name_hash(row.name))) is not None:
                    taken[row.name] = str(place)
            if taken:
                raise AirflowFailException(
                    f"{len(taken)} of {how_many(len(rows), 'file')} of this import were taken by another import while this task was "
                    f"over (on_seen={self._options.on_seen!r}): {_named(taken)}. Nothing more is sent, and a retry cannot help. "
                    "What this import has sent before stays on the platform."
                )
            self._turns.hold([name_hash(row.name) for row in rows])
        self._record_choice(rows)

    def look(self, files: Sequence[FoundFile]) -> list[FoundFile]:
        """Return the files that an import would take now, without taking them: for a dry run."""
        entries = {one.record.uri: self._ledger.find(one.record.uri) for one in files}
        known = {}
        for one in files:
            entry = entries[one.record.uri]
            content = None if entry is None or entry.is_version(one.record) else content_hash(one)
            if entry is not None and self._is_known(one, entry, content):
                known[one.record.uri] = entry
        self.left_known = len(known)
        self._judge(len(files), known, {})
        _tell(len(files), known, {})
        return [one for one in files if one.record.uri not in known]

    # What was chosen.

    def _chosen(self) -> Chosen | None:
        stored = self._record.read("files")
        return None if stored is None else msgspec.convert(stored, Chosen)

    def _rows(self) -> list[ChosenFile] | None:
        chosen = self._chosen()
        if chosen is None:
            return None
        stored = [self._record.read(f"files.{number}") for number in range(chosen.pages)]
        return [msgspec.convert(row, ChosenFile) for page in stored for row in page]

    # Ends.

    @property
    def left_out(self) -> int:
        """Files of the source that this import does not take."""
        return self.left_known + self.busy

    def say_nothing_new(self) -> str:
        """Say that every file was left out."""
        busy = f", {self.busy} held by imports that are not over" if self.busy else ""
        return f"The source holds no new file: {self.left_known} known{busy} (on_seen='skip')."

    def counts(self) -> dict[str, Any]:
        """What the result says of files that were left out."""
        return {"files_known": self.left_known, "files_held": self.busy}

    def make_known(self, result: Mapping[str, Any]) -> None:
        """Write an entry for each file of an import that has ended well, before that end is recorded.

        A task that is killed in between has brought these lines all the same. A retry writes the same entries.
        """
        rows = self._rows() or ()
        if not rows:
            return
        self._record.hold()
        if not self._turns.is_running():
            log.warning(
                "This task instance is not running any more, as Airflow has it: its files do not become known."
            )
            return
        shared: dict[str, Any] = {
            "import_id": result["import_id"],
            "at": time.time(),
            "owner": self._owner,
            "files": len(rows),
            **self._me._asdict(),
            **{name: result.get(name) for name in COUNTS},
        }
        for row in rows:
            self._ledger.write(
                KnownFile(name=row.name, size=row.size, version=row.version, content=row.content, **shared)
            )

    def leave(self) -> None:
        """Hold nothing any more; the end is recorded."""
        try:
            self._turns.leave()
        except Exception as error:  # noqa: BLE001  (an instance that is over holds nothing, whatever is written)
            log.warning("What this import held is still written in the ledger: %s.", type(error).__name__)


def _chosen(file: FoundFile, content: str) -> ChosenFile:
    return ChosenFile(file.record.uri, file.record.size, file.record.version, content)


def _named(why: Mapping[str, object]) -> str:
    first = [f"{name} ({reason})" for name, reason in list(why.items())[:NAMED]]
    more = f"; and {len(why) - NAMED} more" if len(why) > NAMED else ""
    return "; ".join(first) + more


def _tell(count: int, known: Mapping[str, KnownFile], busy: Mapping[str, Place]) -> None:
    if known:
        log.info(
            "%d of %s known, and left out (on_seen='skip'): %s.",
            len(known),
            how_many(count, "file"),
            _named({name: entry.source_of for name, entry in known.items()}),
        )
    if busy:
        log.warning(
            "%d of %s left out, since an import that is not over holds them: %s. If it fails, a later run takes them.",
            len(busy),
            how_many(count, "file"),
            _named(busy),
        )
