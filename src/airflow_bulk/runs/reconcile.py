"""Look before acting: what an earlier try, or a lost answer, may have left on the platform.

Unreadable is not absent. If the look-up fails or two answers fit, the task fails, names the candidates
and sends nothing again (ARCHITECTURE.md section 5.3; airflow.md section 4.3).
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from airflow_bulk.hooks.transport import LONGEST_RETRY_AFTER
from airflow_bulk.judging import id_order, name_ids
from airflow_bulk.platforms.call import run_calls
from airflow_bulk.platforms.errors import FateUnknown, PlatformError, TryLater
from airflow_bulk.platforms.status import RemoteSnapshot, RemoteStatus
from airflow_bulk.runs.record import PartState, Record, RecordedPart, RecordedParts

if TYPE_CHECKING:
    from airflow_bulk.arguments import SendingOptions
    from airflow_bulk.hooks.platform_hook import PlatformHook
    from airflow_bulk.platforms.upload_port import UploadPort

T = TypeVar("T")
log = logging.getLogger(__name__)

#: Seconds between two lists that must agree: this share of `settle`.
BETWEEN_LISTS = 0.2
#: Lists at most until two agree.
LISTS = 20
#: Seconds between two looks at an execution that has not told its line count.
BETWEEN_LOOKS = 1.0
#: Seconds an unmatched execution may take to tell its line count.
UNTIL_COUNTED = 120.0
#: Creations at most within one try when each answer is lost and nothing is found.
CREATIONS = 3
#: Acts at most of one creation while the platform says that nothing was carried out.
ACTS = 5


class NotReconciled(PlatformError):
    """What is on the platform does not tell what an earlier act did; nothing is sent again."""


class SeveralFit(NotReconciled):
    """More than one thing on the platform may be what an earlier act made."""


def agreed(
    look: Callable[[], list[T]], key: Callable[[T], Hashable], *, since: float, settle: float
) -> list[T]:
    """Wait until ``settle`` seconds have passed since an act, then list until two lists agree.

    :param look: one full list.
    :param key: what must be equal in both.
    :param since: seconds since 1970 of the act.
    :raises NotReconciled: the lists keep changing.
    """
    time.sleep(max(0.0, since + settle - time.time()))
    before = look()
    for _ in range(LISTS):
        time.sleep(settle * BETWEEN_LISTS)
        now = look()
        if {key(one) for one in now} == {key(one) for one in before}:
            return now
        before = now
    raise NotReconciled(
        "settle what an earlier try left on the platform",
        f"{LISTS} lists in a row differed",
        retry="A retry looks again; nothing is sent before two lists agree.",
    )


class NoLookup(NamedTuple):
    """Why nothing can be looked up, and what then.

    :param why: after "the answer was lost, and".
    :param retry: what a person can do; a retry of the task does nothing.
    :param again: the caller accepts a second one: a later try acts again instead of asking a person.
    :param cleared: a clear is the person's answer: they have looked, and it may be created.
    """

    why: str
    retry: str
    again: bool = False
    cleared: bool = False


NO_MARKER = NoLookup(
    "without a marker in the name nothing can be looked up",
    "Look at the platform yourself, then clear this task or mark it.",
    cleared=True,
)


def create_once(
    record: Record,
    name: str,
    intent: Callable[[], dict[str, Any]],
    create: Callable[[dict[str, Any]], str],
    look: Callable[[dict[str, Any]], list[str]] | None,
    *,
    settle: float,
    no_lookup: NoLookup = NO_MARKER,
) -> tuple[str, dict[str, Any]]:
    """Create something remote exactly once over all tries: intent, look, act, record.

    :param record: the task's memory; ``name`` is the key of this thing in it.
    :param intent: what is needed to create it and to find it again; asked once, stored before the act.
    :param create: the act; returns the id.
    :param look: ids that bear the intent's mark, or None where nothing can be looked up. Then ``create`` is one
        call, and where that call was certainly not carried out a later try acts without a doubt.
    :param no_lookup: what to say, and what to do, where nothing can be looked up.
    :returns: the id, and the stored intent.
    :raises NotReconciled: two fit, or nothing can be looked up.
    """
    stored = record.read(name)
    if stored is not None and stored.get("id"):
        return str(stored["id"]), stored
    if stored is not None and look is None and _may_act_again(stored, record.max_tries, no_lookup):
        stored = None
    unsure = stored is not None
    if stored is None:
        stored = {**intent(), "max_tries": record.max_tries}
        record.write(name, stored)

    def undone() -> None:
        record.write(name, {**stored, "undone": True})

    found = _find_or_act(name, stored, create, look, settle, no_lookup, unsure, undone)
    stored = {**stored, "id": found}
    record.write(name, stored)
    return found, stored


def _find_or_act(
    name: str,
    stored: dict[str, Any],
    create: Callable[[dict[str, Any]], str],
    look: Callable[[dict[str, Any]], list[str]] | None,
    settle: float,
    no_lookup: NoLookup,
    unsure: bool,
    undone: Callable[[], None],
) -> str:
    """Return the id of what an earlier act created, else of what is created now.

    :param unsure: an earlier act may have been carried out: look first.
    :param undone: records that the act was certainly not carried out.
    """
    for _ in range(CREATIONS):
        if unsure:
            found = _found(look, stored, settle, no_lookup)
            if found is not None:
                log.info("Found %s on the platform: an earlier act was carried out. Going on with it.", found)
                return found
        try:
            return create(stored)
        except FateUnknown as error:
            log.warning("%s", error)
            unsure = True
        except PlatformError:
            if look is None and not unsure:
                undone()
            raise
    raise NotReconciled(
        f"create {name}",
        f"the answer was lost {CREATIONS} times, and nothing was found afterwards",
        retry="A retry looks again before it creates.",
    )


def _may_act_again(stored: dict[str, Any], max_tries: int, no_lookup: NoLookup) -> bool:
    """Whether an act that cannot be looked up is no reason to ask a person.

    :param stored: the intent of the earlier act.
    :param max_tries: of the task now; a clear raises it (airflow.md section 2.1).
    """
    if no_lookup.again or stored.get("undone"):
        return True
    return no_lookup.cleared and stored.get("max_tries", max_tries) != max_tries


def act_once(write: Callable[[], None], act: Callable[[], T], *, pause: float) -> T:
    """Act, and again only while the platform says that it did nothing (429, no connection).

    Each act comes right after a write to the record that returned, so a superseded try cannot begin one: for acts that
    start what nobody can take back. Nothing stands in between but the connection's rate budget.

    :param write: writes to the record that an act begins.
    :param act: one call, not repeated by the transport.
    :param pause: seconds between two acts, where the platform asks for no longer pause.
    :raises TryLater: the platform does nothing for the moment.
    """
    for number in range(1, ACTS + 1):
        write()
        try:
            return act()
        except TryLater as error:
            asked = error.retry_after or 0.0
            if number == ACTS or asked > LONGEST_RETRY_AFTER:
                raise
            log.info("%s", error)
            time.sleep(max(asked, pause))
    raise AssertionError("unreachable")  # pragma: no cover


def _found(
    look: Callable[[dict[str, Any]], list[str]] | None,
    stored: dict[str, Any],
    settle: float,
    no_lookup: NoLookup,
) -> str | None:
    if look is None:
        raise NotReconciled(
            "tell whether an earlier act was carried out",
            f"its answer was lost, and {no_lookup.why}",
            retry=no_lookup.retry,
        )
    found = agreed(lambda: look(stored), lambda one: one, since=time.time(), settle=settle)
    if len(found) > 1:
        raise SeveralFit(
            "tell which object an earlier act created",
            f"{len(found)} fit: {name_ids(found)}",
            retry="A retry looks again; it creates nothing while two fit.",
        )
    return found[0] if found else None


def find_or_create(
    hook: PlatformHook,
    port: UploadPort,
    record: Record,
    *,
    name: str,
    fields: Mapping[str, Any],
    marked: bool,
    settle: float,
) -> str:
    """Return the id of this generation's import: recorded, found by its marker, or created now.

    The platform has no idempotency key, so the name carries ours: it ends in a random word from the intent, and the
    look-up is exact (ARCHITECTURE.md section 5.1).

    :param port: how the platform creates and finds imports.
    :param name: the import's name, before the marker.
    :param fields: what else it is created with.
    :param marked: end the name in the marker; without it nothing can be looked up.
    :param settle: seconds to wait for an import to show after an answer was lost.
    :raises NotReconciled: an earlier creation may have been carried out and cannot be told.
    """

    def intent() -> dict[str, Any]:
        marker = secrets.token_hex(5)
        full = f"{name} [{marker}]" if marked else name
        return {"name": full, "marker": marker, "conn_id": hook.conn_id, **port.place}

    def create(stored: dict[str, Any]) -> str:
        import_id = hook.send(port.create(stored["name"], fields))
        log.info("Created %s %s, %r.", port.noun, import_id, stored["name"])
        return import_id

    def look(stored: dict[str, Any]) -> list[str]:
        return run_calls(port.find(stored["marker"]), hook.send)

    import_id, _ = create_once(record, "import", intent, create, look if marked else None, settle=settle)
    return import_id


class Executions(Protocol):
    """What settling asks of an import's executions."""

    def look(self) -> list[RemoteSnapshot]:
        """All executions of the import."""

    def cancel(self, execution_id: str) -> RemoteSnapshot:
        """Cancel one and return it as re-read."""


class Reconciliation:
    """Settles the parts whose last block may have left without an answer.

    :param executions: the import's executions.
    :param recorded: the record's parts.
    :param own: the import was created by this task; nothing else feeds it.
    :param exclusive: the caller says that nobody else feeds the import given from outside.
    :param baseline: newest execution of that import before this task sent anything; ids increase.
    """

    def __init__(
        self,
        executions: Executions,
        recorded: RecordedParts,
        sending: SendingOptions,
        *,
        own: bool,
        exclusive: bool = False,
        baseline: str = "",
    ) -> None:
        self._executions = executions
        self._recorded = recorded
        self._settle = float(sending.settle)
        self._own = own
        self._exclusive = exclusive
        self._baseline = baseline

    def run(self) -> None:
        """Give every committed part its execution, or send it again; afterwards none is committed.

        :raises NotReconciled: naming the candidates.
        """
        committed = self._recorded.in_state(PartState.COMMIT)
        if not committed and not self._own:
            return
        unmatched = self._unmatched(committed)
        if self._own:
            unmatched = self._cancel_pending(unmatched)
        for one in unmatched:
            self._adopt(one, committed, unmatched)
        for entry in committed:
            if entry.state is PartState.COMMIT:
                log.info("Part %d was not taken by the platform; it is sent again.", entry.part.index + 1)
                entry.state = PartState.CHECKED
                self._recorded.save(entry)

    def _unmatched(self, committed: Sequence[RecordedPart]) -> list[RemoteSnapshot]:
        """Executions that no part is known to have made and that may have taken lines."""
        known = self._recorded.known_executions()

        def look() -> list[RemoteSnapshot]:
            return [
                one
                for one in self._executions.look()
                if one.id not in known
                and one.remote_status is not RemoteStatus.CANCELED
                and id_order(one.id) > id_order(self._baseline)
            ]

        # Nothing was committed: one list, only to notice what should not be there.
        # From now, not from the commit's own time: its write may have taken seconds, and its last block
        # leaves within the commit window after that.
        found = (
            agreed(look, lambda one: one.id, since=time.time(), settle=self._settle) if committed else look()
        )
        until = time.time() + UNTIL_COUNTED
        while (
            not self._own
            and any(one.lines is None and not one.remote_status.over for one in found)
            and time.time() < until
        ):
            time.sleep(BETWEEN_LOOKS)
            found = look()
        return found

    def _cancel_pending(self, unmatched: list[RemoteSnapshot]) -> list[RemoteSnapshot]:
        """Cancel what took no line yet; wait for the line count of the rest."""
        left = []
        until = time.time() + UNTIL_COUNTED
        for one in unmatched:
            if one.remote_status is RemoteStatus.PENDING:
                self._recorded.hold()  # to a superseded try a newer one's parts look unmatched, too
                one = self._executions.cancel(one.id)
            while one.lines is None and not one.remote_status.over and time.time() < until:
                time.sleep(BETWEEN_LOOKS)
                one = next((now for now in self._executions.look() if now.id == one.id), one)
            if one.remote_status is RemoteStatus.CANCELED:
                log.info("Cancelled execution %s of an earlier act; it had taken no line.", one.id)
            else:
                left.append(one)
        return left

    def _adopt(
        self, one: RemoteSnapshot, committed: Sequence[RecordedPart], unmatched: Sequence[RemoteSnapshot]
    ) -> None:
        waiting = [entry for entry in committed if entry.state is PartState.COMMIT]
        fits = [entry for entry in waiting if one.lines in (entry.part.lines, None)]
        # One that has not told its lines may be whichever.
        rivals = [
            other.id for other in unmatched if None in (one.lines, other.lines) or other.lines == one.lines
        ]
        if not self._own and not fits:
            return  # somebody else's
        if len(fits) != 1 or len(rivals) != 1 or (not self._own and not self._exclusive):
            raise self._unclear(one, fits, rivals)
        entry = fits[0]
        entry.executions.append(one.id)
        entry.state = PartState.SENT
        self._recorded.save(entry)
        log.info("Part %d is execution %s: its answer had been lost.", entry.part.index + 1, one.id)

    def _unclear(
        self, one: RemoteSnapshot, fits: Sequence[RecordedPart], rivals: Sequence[str]
    ) -> NotReconciled:
        parts = ", ".join(f"part {entry.part.index + 1}" for entry in fits) or "no part"
        lines = "an unknown number of" if one.lines is None else f"{one.lines}"
        hint = (
            ""
            if self._own or self._exclusive
            else " The import was given from outside: say exclusive=True if nobody else feeds it."
        )
        return NotReconciled(
            "settle what an earlier act left on the platform",
            f"execution {one.id} ({one.status}, {lines} lines) fits {parts}; candidates: {name_ids(rivals)}",
            retry=f"Nothing was sent again; a retry looks again.{hint}",
        )
