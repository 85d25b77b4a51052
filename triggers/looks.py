"""What a poll has found, for all who wait for the same thing: compared once with the poll before, and said once.

Ten thousand triggers may wait for the executions of a hundred imports. So what concerns the thing as a whole is reckoned once a
poll, and a trigger judges only what has changed for it.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from typing import Generic, TypeVar

from airflow_bulk.judging import Totals, add_up, how_many, unknown_statuses, warn_of_unknown
from airflow_bulk.platforms.status import RemoteSnapshot
from airflow_bulk.unblocked_log import UnblockedLog

S = TypeVar("S", bound=RemoteSnapshot)
log = UnblockedLog(logging.getLogger(__name__))


class Look(Generic[S]):
    """What one poll has found.

    :param found: all that is listed, in the order of the list.
    :param before: what the poll before has found; None for the first one.
    :param waiting: how many triggers wait for the thing.
    """

    __slots__ = ("_by_id", "changed", "found", "waiting")

    def __init__(self, found: Sequence[S], before: Look[S] | None, waiting: int) -> None:
        self.found = found
        self.waiting = waiting
        self._by_id = {one.id: (place, one) for place, one in enumerate(found)}
        known = {} if before is None else before._by_id
        #: Ids of what is new, gone, or not as it was.
        self.changed = known.keys() - self._by_id.keys()
        for one in found:
            _, last = known.get(one.id, (0, None))
            if last != one:
                self.changed.add(one.id)

    def of(self, ids: Collection[str] | None) -> Sequence[S]:
        """What has one of these ids, in the order of the list; None for all."""
        if ids is None:
            return self.found
        return [one for _, one in sorted((self._by_id[id_] for id_ in ids if id_ in self._by_id), key=_place)]

    def concerns(self, ids: Collection[str] | None) -> bool:
        """Whether something has changed for who waits for these ids; None for all."""
        return bool(self.changed) if ids is None else not self.changed.isdisjoint(ids)


def _place(found: tuple[int, RemoteSnapshot]) -> int:
    return found[0]


class Looks(Generic[S]):
    """The polls of one thing, one after the other.

    Where several wait, it logs each change: one line for all of them, in the log of the triggerer. Who waits alone logs for
    itself (:class:`~airflow_bulk.judging.WaitingProgress`).

    :param what: what is watched, in words.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._last: Look[S] | None = None
        self._told: Totals | None = None
        self._unknown: set[str] = set()

    def __call__(self, found: Sequence[S], waiting: int) -> Look[S]:
        """Compare what a poll has found with the poll before."""
        look = self._last = Look(found, self._last, waiting)
        if waiting > 1 and look.changed:
            self._tell(look)
        return look

    def _tell(self, look: Look[S]) -> None:
        warn_of_unknown(log, unknown_statuses(look.found), self._unknown)
        totals = add_up(look.found)
        if totals != self._told:
            self._told = totals
            log.info("%s wait for %s: %s.", how_many(look.waiting, "task"), self._what, totals)
