"""Create something remote exactly once over all tries: intent, look, act, record (ARCHITECTURE.md section 5).

What an earlier try may have created is looked up before anything is created again. Where nothing can be looked up, nothing
is repeated: a person is asked.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from airflow_bulk.arguments import ArgumentError
from airflow_bulk.hooks.retry_after import LONGEST_RETRY_AFTER
from airflow_bulk.judging import id_order
from airflow_bulk.platforms.call import run_calls
from airflow_bulk.platforms.errors import FateUnknown, PlatformError, TryLater, text_id
from airflow_bulk.runs.marking import (
    SOURCE_DIGITS,
    Marked,
    chosen_marker,
    newest_marked,
    only_one,
    own_marker,
    refuse_other_source,
    refuse_renamed_import,
)
from airflow_bulk.runs.reconcile import NotReconciled, StaysUnclear, list_until_two_agree
from airflow_bulk.runs.record import Record
from airflow_bulk.runs.renamed import refuse_renamed

if TYPE_CHECKING:
    from airflow_bulk.hooks.platform_hook import PlatformHook
    from airflow_bulk.platforms.upload_port import UploadPort

T = TypeVar("T")
log = logging.getLogger(__name__)

#: Creations at most within one try when each answer is lost and nothing is found.
CREATIONS = 3
#: Acts at most of one creation while the platform says that nothing was carried out.
ACTS = 5


class NoLookup(NamedTuple):
    """Why nothing can be looked up, and what then.

    :param why: after "the answer was lost, and".
    :param retry: what a person can do; a retry of the task does nothing.
    :param accepts_second: the caller accepts a second one: a later try acts again instead of asking a person.
    :param clear_allows: a clear is the person's answer: they have looked, and it may be created.
    """

    why: str
    retry: str
    accepts_second: bool = False
    clear_allows: bool = False


NO_MARKER = NoLookup(
    "without a marker in the name nothing can be looked up",
    "Look at the platform yourself, then clear this task or mark it.",
    clear_allows=True,
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
    look_first: Callable[[], Marked | None] | None = None,
    work: str | None = None,
) -> tuple[str, dict[str, Any]]:
    """Create something remote exactly once over all tries: intent, look, act, record.

    :param record: the task's memory; ``name`` is the key of this thing in it.
    :param intent: what is needed to create it and to find it again; asked once, stored before the act.
    :param create: the act; returns the id.
    :param look: ids that bear the intent's mark, or None where nothing can be looked up. Then ``create`` is one
        call, and where that call was certainly not carried out a later try acts without a doubt.
    :param no_lookup: what to say, and what to do, where nothing can be looked up.
    :param look_first: asked before the first act: what bears the task's mark already, for every record may have been lost.
        What is found so has ``unrecorded`` in its intent.
    :param work: for what bears no mark: what the task works on, by which a renamed task is told.
    :returns: the id, and the stored intent.
    :raises NotReconciled: two fit, or nothing can be looked up.
    """
    stored = record.read(name)
    if work is not None:
        if stored is None:
            refuse_renamed(record, work)
        record.tell_work(work)
    if stored is not None and stored.get("id"):
        return str(stored["id"]), stored
    if stored is not None and look is None and _may_act_again(stored, record.max_tries, no_lookup):
        stored = None
    unsure = stored is not None
    if stored is None:
        stored = {**intent(), "max_tries": record.max_tries}
        if look_first is not None and (there := look_first()) is not None:
            log.warning(
                "Nothing is recorded of an earlier try, but %s on the platform bears this task's mark. Going on with it.",
                there.import_id,
            )
            stored |= {"id": there.import_id, "marker": there.marker, "unrecorded": True}
            record.reach(there.generation)
        record.write(name, stored)
        if stored.get("id"):
            return str(stored["id"]), stored

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
    if no_lookup.accepts_second or stored.get("undone"):
        return True
    return no_lookup.clear_allows and stored.get("max_tries", max_tries) != max_tries


def act_until_taken(write: Callable[[], None], act: Callable[[], T], *, pause: float) -> T:
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
        raise StaysUnclear(
            "tell whether an earlier act was carried out",
            f"its answer was lost, and {no_lookup.why}",
            retry=no_lookup.retry,
        )
    return only_one(
        list_until_two_agree(lambda: look(stored), lambda one: one, since=time.time(), settle=settle)
    )


class FoundImport(NamedTuple):
    """An import to upload into.

    :param import_id: the import.
    :param unrecorded: it was found by its marker alone: what it holds is not in the record.
    """

    import_id: str
    unrecorded: bool


def find_or_create(
    hook: PlatformHook,
    port: UploadPort,
    record: Record,
    *,
    name: str,
    fields: Mapping[str, Any],
    marked: bool | str,
    settle: float,
    source: str = "",
) -> FoundImport:
    """Return this generation's import: recorded, found by its marker, or created now.

    The platform has no idempotency key, so the name carries ours: it ends in a marker that follows from the task, and the
    look-up is exact (ARCHITECTURE.md section 5.1).

    :param port: how the platform creates and finds imports.
    :param name: the import's name, before the marker.
    :param fields: what else it is created with.
    :param marked: end the name in the marker; without it nothing can be looked up. A text is a person's choice, in words
        that errors have named.
    :param settle: seconds to wait for an import to show after an answer was lost.
    :param source: the fingerprint of what is to be sent: of an import of which nothing is recorded, its first digits in the
        name tell whether it was made of the same.
    :raises NotReconciled: an earlier creation may have been carried out and cannot be told.
    """
    words = marked if isinstance(marked, str) else ""

    def chosen() -> str | None:
        return chosen_marker(record, words, source) if words else None

    def intent() -> dict[str, Any]:
        marker = chosen() or own_marker(record)
        made_of = f" [{source[:SOURCE_DIGITS]}]" if source else ""
        full = f"{name}{made_of} [{marker}]" if marked else name
        return {"name": full, "marker": marker, "conn_id": hook.conn_id, **port.place}

    def create(stored: dict[str, Any]) -> str:
        import_id = text_id(
            hook.send(port.create(stored["name"], fields)), f"What create returns for a {port.noun}"
        )
        log.info("Created %s %s, %r.", port.noun, import_id, stored["name"])
        return import_id

    def find(word: str) -> list[str]:
        found = run_calls(port.find(word), hook.send)
        return [text_id(one, f"What find returns for a {port.noun}") for one in found]

    def look_first() -> Marked | None:
        # Lists, without waiting: what was lost here is a record, long ago, and not an answer a moment ago.
        word = chosen()
        if word is not None and word != own_marker(record):
            import_id = only_one(find(word))
            there = None if import_id is None else Marked(import_id, word, record.generation)
        else:
            there = newest_marked(record.identity, find, record.generation)
            if there is None and word is None and record.generation == 1:
                refuse_renamed_import(port.noun, record, find)
        if there is not None and source:
            refuse_other_source(port.noun, record, there, find, source)
        return there

    import_id, stored = create_once(
        record,
        "import",
        intent,
        create,
        (lambda stored: find(stored["marker"])) if marked else None,
        settle=settle,
        look_first=look_first if marked else None,
        work=None if marked else f"a {port.noun} without a marker",
    )
    return FoundImport(import_id, bool(stored.get("unrecorded")))


def find_baseline(record: Record, import_id: str, executions: Callable[[], list[str]], *, sent: bool) -> str:
    """The newest execution of a given import before this task sends anything into it; recorded once.

    :param executions: the ids of the import's executions now.
    :param sent: an earlier try has sent parts.
    :raises ArgumentError: an earlier try has begun to send the source into another import.
    :raises StaysUnclear: a task that has left the DAG in mid-run uploads into the same import.
    """
    stored = record.read("baseline")
    if stored is not None and (begun_in := stored.get("import_id", import_id)) != import_id:
        if sent:
            raise ArgumentError(
                "import_id",
                f"names {import_id}, while an earlier try has sent parts of this source into {begun_in}: name that one "
                "again, and a clear goes on there",
            )
        stored = None
    if stored is None:
        refuse_renamed(record, f"import {import_id}")
        stored = {"newest": max(executions(), key=id_order, default="0"), "import_id": import_id}
        record.write("baseline", stored)
    record.tell_work(f"import {import_id}")
    return str(stored["newest"])
