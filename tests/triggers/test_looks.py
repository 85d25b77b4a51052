"""What a poll has found is compared once, and what is told of it is told once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_bulk.platforms.status import RemoteSnapshot, RemoteStatus
from airflow_bulk.triggers.looks import Look, Looks

lists = st.dictionaries(st.integers(1, 12).map(str), st.sampled_from(list(RemoteStatus)), max_size=8)
names = st.none() | st.lists(st.integers(1, 12).map(str), unique=True, max_size=6)


def snapshots(states: dict[str, RemoteStatus]) -> list[RemoteSnapshot]:
    return [RemoteSnapshot(id=one, remote_status=state, status=state.name) for one, state in states.items()]


@given(lists, lists, names)
def test_it_concerns_whoever_would_count_something_else(
    before: dict[str, RemoteStatus], after: dict[str, RemoteStatus], named: list[str] | None
) -> None:
    first = Look(snapshots(before), None, 1)
    look = Look(snapshots(after), first, 1)
    wanted = before.keys() | after.keys() if named is None else named
    assert look.concerns(named) == any(before.get(one) != after.get(one) for one in wanted)
    assert look.of(named) == [one for one in snapshots(after) if named is None or one.id in named]


def test_the_first_look_concerns_whoever_waits_for_what_is_there() -> None:
    look = Look(snapshots({"1": RemoteStatus.PENDING}), None, 1)
    assert look.concerns(["1"]) and look.concerns(None) and not look.concerns(["2"])


def test_each_change_is_told_once_and_nothing_for_one_alone(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    looks: Looks[RemoteSnapshot] = Looks("document import 7")
    pending, going = (snapshots({"1": one}) for one in (RemoteStatus.PENDING, RemoteStatus.GOING))
    odd = [RemoteSnapshot(id="1", remote_status=RemoteStatus.GOING, status="HIBERNATING", unknown=True)]
    for found, waiting in (
        (pending, 1),
        (pending, 5),
        (going, 5),
        (going, 5),
        (odd, 5),
        (going, 5),
        (odd, 4),
    ):
        looks(found, waiting)
    assert [one.getMessage() for one in caplog.records] == [
        "5 tasks wait for document import 7: 1 running; 0 lines accepted, 0 failed.",
        "The platform reports a status that is not documented: 'HIBERNATING'. Waiting on.",
    ]
