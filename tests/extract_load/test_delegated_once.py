"""A delegated batch is run once over all tries: lost answers, crashes at every write, superseded tries."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from airflow.sdk import NEVER_EXPIRE
from airflow.sdk.exceptions import AirflowException, AirflowFailException, TaskDeferred
from delegating import GOOD, LIST, REFUSED, DelegatedTask, ids, posts, store_another
from one_task import DyingStore, Killed, MemoryStore

from airflow_bulk.hooks.extract_load import ExtractLoadHook
from airflow_bulk.runs.extract_load import delegated

#: A batch of the same objects that differs in a time.
NEAR = {**GOOD, "since": "2013-01-01"}


@pytest.fixture(autouse=True)
def _over_at_once(extract_load: Any) -> None:
    extract_load.emulator.settings(start_delay=0, run_seconds=0)


def test_killed_at_every_write(extract_load: Any) -> None:
    store_another()  # an older run of the same jobs
    died = 0
    for at, after in ((at, after) for at in itertools.count(1) for after in (False, True)):
        before = ids()
        one = DelegatedTask(DyingStore(at, after=after))
        try:
            one.run()
        except Killed:
            died += 1
            (made,) = set(ids()) - set(before) or {""}
            result = one.run()
            assert result["finished_at"]
            assert set(ids()) - set(before) == {result["batch_id"]}
            assert made in ("", result["batch_id"])
        else:
            break
    # The clock, what it works on, the known ids, the intent, the POST, the id, the end.
    assert died == 14


def test_what_is_written_never_expires(extract_load: Any) -> None:
    """Airflow deletes what may expire after 30 days, and a clear would find nothing."""
    kept: dict[str, Any] = {}

    class Watching(MemoryStore):
        def set(self, key: str, value: Any, *, retention: Any = None) -> None:
            kept[key] = retention
            super().set(key, value, retention=retention)

    store_another()
    DelegatedTask(Watching()).run()
    assert set(kept) == {"work", "g1.started", "g1.known.0", "g1.batch", "g1.end"}
    assert all(retention is NEVER_EXPIRE for retention in kept.values())


# Lost answers.


@pytest.mark.parametrize(
    ("fault", "sent"),
    [
        ({"name": "lost_answer"}, 1),
        ({"name": "lost_answer", "how": "reset"}, 1),
        ({"name": "half_answer"}, 1),
        ({"name": "server_error", "status": 500, "when": "after"}, 1),
        ({"name": "html_answer", "method": "POST"}, 1),
        ({"name": "empty_answer", "method": "POST"}, 1),
        ({"name": "server_error", "status": 503, "when": "before"}, 2),
    ],
    ids=lambda one: "-".join(map(str, one.values())) if isinstance(one, dict) else str(one),
)
def test_a_lost_answer(extract_load: Any, fault: dict[str, Any], sent: int) -> None:
    old = store_another()
    extract_load.emulator.fault(**{"path": LIST, "method": "POST", "times": 1, **fault})
    result = DelegatedTask().run()
    assert ids() == [old, result["batch_id"]]
    assert posts(extract_load) == 1 + sent


def test_a_server_that_does_nothing_for_the_moment(extract_load: Any) -> None:
    extract_load.emulator.fault("rate_limited", path=LIST, method="POST", times=2, retry_after=0)
    result = DelegatedTask().run()
    assert ids() == [result["batch_id"]]


@pytest.mark.parametrize("other", [GOOD, NEAR])
def test_a_post_that_was_refused_has_made_nothing(extract_load: Any, other: dict[str, Any]) -> None:
    """So what somebody else stores meanwhile is not ours, and no reason to ask a person."""
    one = DelegatedTask()
    extract_load.emulator.fault("rate_limited", path=LIST, method="POST", times=5, retry_after=0)
    with pytest.raises(AirflowException, match="429"):
        one.run()
    assert posts(extract_load) == 5
    others = store_another(other)
    assert [others, one.run()["batch_id"]] == ids()


def test_a_twin_of_somebody_else_is_no_fault_of_ours(extract_load: Any) -> None:
    extract_load.emulator.settings(run_seconds=2)
    extract_load.emulator.fault("rate_limited", path=LIST, method="POST", times=1, retry_after=0)
    one = DelegatedTask(deferrable=True)
    with pytest.raises(TaskDeferred):
        one.run()
    store_another(GOOD)
    extract_load.emulator.clock.advance(10)
    assert one.run()["batch_id"] == ids()[0]


def test_the_time_of_tries_that_stored_nothing_is_not_the_runs(extract_load: Any) -> None:
    extract_load.emulator.settings(run_seconds=1)
    one = DelegatedTask(timeout=3600)
    extract_load.emulator.fault("rate_limited", path=LIST, method="POST", times=5, retry_after=0)
    with pytest.raises(AirflowException, match="429"):
        one.run()
    began = one.store.get("g1.started")
    one.store.set("g1.started", {**began, "at": began["at"] - 7200})
    assert one.run()["batch_id"] == ids()[0]


def test_what_json_makes_of_a_definition_is_the_same_batch(extract_load: Any) -> None:
    jobs = [
        {"type": "extract", "object": "Item"},
        {"type": "load", "object": "items", "required_objects": {"extract": ("Item",)}},
    ]
    one = DelegatedTask(definition={"tenant_id": 7, "jobs": jobs})
    extract_load.emulator.fault("lost_answer", path=LIST, method="POST", times=1)
    result = one.run()
    assert ids() == [result["batch_id"]]


def test_one_that_shows_late_is_waited_for(extract_load: Any) -> None:
    extract_load.emulator.fault("late", path=LIST, seconds=1.0, times=1)
    result = DelegatedTask(settle=2.5).run()
    assert ids() == [result["batch_id"]]
    assert posts(extract_load) == 1


def test_one_that_shows_too_late_is_told(extract_load: Any) -> None:
    extract_load.emulator.settings(run_seconds=3)
    extract_load.emulator.fault("late", path=LIST, seconds=2, times=1)
    one = DelegatedTask(settle=0.1)
    with pytest.raises(AirflowFailException, match="may have run twice") as failed:
        one.run()
    made = ids()
    assert len(made) == 2 and all(batch_id in str(failed.value) for batch_id in made)
    with pytest.raises(AirflowFailException, match=r"may have run twice.*Recorded by try 1"):
        one.run()
    assert ids() == made


def test_one_that_shows_after_another_was_taken_for_it_is_told(extract_load: Any) -> None:
    """Somebody else's was the only new one when the list was read; ours shows when that is over."""
    extract_load.emulator.settings(run_seconds=6)
    extract_load.emulator.fault("late", path=LIST, seconds=5, times=1)
    extract_load.emulator.fault(**REFUSED, path=LIST, skip=1, times=1)
    one = DelegatedTask()
    with pytest.raises(AirflowException, match="501"):
        one.run()
    others = store_another()
    with pytest.raises(AirflowFailException, match="may have run twice") as failed:
        one.run()
    assert one.pushed["batch_id"] == others
    assert posts(extract_load) == 2
    (ours,) = set(ids()) - {others}
    assert ours in str(failed.value)


def in_doubt(extract_load: Any, *, carried_out: bool) -> DelegatedTask:
    """A task whose first try ended in doubt: the answer was lost, and the list could not be read."""
    fault = {"name": "lost_answer"} if carried_out else {"name": "server_error", "when": "before"}
    extract_load.emulator.fault(**fault, path=LIST, method="POST", times=1)
    extract_load.emulator.fault(**REFUSED, path=LIST, skip=1, times=1)
    one = DelegatedTask()
    with pytest.raises(AirflowException, match="501"):
        one.run()
    return one


@pytest.mark.parametrize("carried_out", [True, False])
def test_a_later_try_looks_first(extract_load: Any, carried_out: bool) -> None:
    one = in_doubt(extract_load, carried_out=carried_out)
    assert len(ids()) == carried_out
    result = one.run()
    assert ids() == [result["batch_id"]]


def test_two_that_may_be_ours_and_a_person_who_clears(extract_load: Any) -> None:
    one = in_doubt(extract_load, carried_out=True)
    store_another()
    both = ids()
    one.clear()  # by somebody who has not been asked yet
    for _ in range(2):
        with pytest.raises(AirflowException, match="stores nothing while this is so") as asked:
            one.run()
        assert all(batch_id in str(asked.value) for batch_id in both)
    assert ids() == both
    one.clear()
    result = one.run()
    assert ids() == [*both, result["batch_id"]]


def test_two_that_may_be_ours_and_one_is_deleted(extract_load: Any) -> None:
    one = in_doubt(extract_load, carried_out=True)
    others = store_another()
    with pytest.raises(AirflowException, match="2 fit"):
        one.run()
    ExtractLoadHook("el_server").delete_batch(others)
    assert [one.run()["batch_id"]] == ids()


def test_one_that_has_the_same_objects_stops_another_post(extract_load: Any) -> None:
    """The server may have kept less than what was sent: it cannot be excluded that this one is ours."""
    one = in_doubt(extract_load, carried_out=False)
    near = store_another(NEAR)
    with pytest.raises(AirflowException, match=f"have the same objects.*{near}"):
        one.run()
    assert ids() == [near]
    one.clear()
    assert [near, one.run()["batch_id"]] == ids()


def test_one_of_other_objects_is_somebody_elses(extract_load: Any) -> None:
    one = in_doubt(extract_load, carried_out=False)
    others = store_another({"jobs": [{"type": "extract", "object": "Item"}]})
    assert [others, one.run()["batch_id"]] == ids()


def test_a_definition_that_changed_between_the_tries(extract_load: Any) -> None:
    """What was sent is looked for, and not what would be sent now; and each POST is remembered."""
    one = in_doubt(extract_load, carried_out=True)
    (made,) = ids()
    one.arguments["definition"] = NEAR
    assert one.run()["batch_id"] == made
    assert ids() == [made]
    other = in_doubt(extract_load, carried_out=False)
    other.arguments["definition"] = {**GOOD, "since": "2014-01-01"}
    extract_load.emulator.fault("lost_answer", path=LIST, method="POST", times=1)
    assert [made, other.run()["batch_id"]] == ids()


def test_many_known_batches_are_kept_in_pages(extract_load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delegated, "PAGE", 2)
    known = [store_another() for _ in range(5)]
    one = in_doubt(extract_load, carried_out=True)
    assert [len(one.store.get(f"g1.known.{page}")) for page in range(3)] == [2, 2, 1]
    result = one.run()
    assert ids() == [*known, result["batch_id"]]


# Superseded tries.


def test_a_superseded_try_stores_nothing(extract_load: Any) -> None:
    """Also where an earlier try has sent the batch and the list shows that it did nothing."""
    one = in_doubt(extract_load, carried_out=False)
    one.store.refused = True
    before = posts(extract_load)
    with pytest.raises(AirflowException, match="a newer try exists"):
        one.run()
    assert posts(extract_load) == before and ids() == []


@pytest.mark.parametrize("allowed", [0, 1])
def test_superseded_right_before_a_post(extract_load: Any, allowed: int) -> None:
    """Each POST comes after a write of its own, also one that is repeated since the server did nothing."""

    class Superseded(MemoryStore):
        acts = 0

        def set(self, key: str, value: Any, *, retention: Any = None) -> None:
            self.acts += key == "g1.batch" and value["posts"] == 1
            self.refused = self.acts > allowed
            super().set(key, value, retention=retention)

    extract_load.emulator.fault("rate_limited", path=LIST, method="POST", retry_after=0)
    with pytest.raises(AirflowException, match="a newer try exists"):
        DelegatedTask(Superseded()).run()
    assert posts(extract_load) == allowed and ids() == []
