"""Creates of a destination that takes many records in one call: slices of the plan, and answers record by record."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

from airflow_bulk.extract_load.endpoints import NotCreated

T = TypeVar("T")
#: Records that a message names by their number before it counts the rest.
NUMBERS_NAMED = 20


class RecordsNotCreated(Exception):
    """A bulk destination has not created some of the records. The others are there, and the next try finds them.

    :param failed: the number of each record among those to create, from 1, and why it was not created.
    :param total: how many records there are to create.
    """

    def __init__(self, load: str, failed: Sequence[tuple[int, NotCreated]], total: int) -> None:
        numbers = sorted(number for number, _ in failed)
        named = ", ".join(map(str, numbers[:NUMBERS_NAMED]))
        if len(numbers) > NUMBERS_NAMED:
            named += f" and {len(numbers) - NUMBERS_NAMED} more"
        super().__init__(
            f"load {load}: the destination has not created {len(numbers)} of {total} records, by their number in the plan:"
            f" {named}"
        )
        self.reasons = [one.why for _, one in failed]
        #: Whether a retry may help with each of them.
        self.passing = all(one.passing for _, one in failed)


def numbered_slices(creates: Iterable[T], size: int) -> Iterator[list[tuple[int, T]]]:
    """Cut creates into slices of at most *size*, each with its number from 1; read no further than the slice needs."""
    source = iter(enumerate(creates, 1))
    while slice_of := list(islice(source, size)):
        yield slice_of


def read_creates_at_once(value: Any) -> int:
    """Read how many records a bulk destination takes in one call.

    :raises ValueError: no whole number from 1 on.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(
            f"creates_at_once of the destination is {value!r:.40}: it must be a whole number from 1 on, the records that"
            " create_many takes in one call"
        )
    return value


def read_answers(load: str, answers: Any, asked: int) -> Sequence[Any]:
    """Return the answers of ``create_many``, one a record.

    :raises ValueError: they cannot be told apart; what was created, nobody knows.
    """
    if isinstance(answers, Sequence) and not isinstance(answers, str | bytes) and len(answers) == asked:
        if all(isinstance(one, Mapping | NotCreated) for one in answers):
            return answers
        raise ValueError(
            f"load {load}: create_many answered with something that is no record and no NotCreated"
        )
    told = f"{len(answers)} answers" if isinstance(answers, Sequence) else f"a {type(answers).__name__}"
    raise ValueError(f"load {load}: create_many was given {asked} records and answered with {told}")
