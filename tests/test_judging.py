"""The one decision about waiting, for any executions and any clock."""

from __future__ import annotations

import dataclasses
import string
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from airflow_bulk import judging
from airflow_bulk.judging import (
    FailedBecause,
    Finished,
    KeepWaiting,
    PastDeadline,
    Tolerance,
    WaitingRules,
    counting,
    judge,
    next_poll,
)
from airflow_bulk.platforms.mediarithmics import document_imports as api
from airflow_bulk.platforms.status import RemoteSnapshot, RemoteStatus

NOW = 1_000_000.0
STATUSES = (*sorted(api.KNOWN_STATUSES), "HIBERNATING", "")
ENDS = ("SUCCEEDED", "SUCCESS", "FAILED", "LOST", "CANCELED", "CANCELLED")

times = st.floats(-5_000, 5_000).map(lambda away: NOW + away)


@st.composite
def executions(draw: Any, least: int = 0, statuses: tuple[str, ...] = STATUSES) -> list[RemoteSnapshot]:
    """Executions as the platform could show them, each read as the hook reads it."""
    found = []
    for number in range(draw(st.integers(least, 8))):
        status = draw(st.sampled_from(statuses))
        created = draw(st.none() | times)
        result = api.ExecutionResult(
            total_success=draw(st.none() | st.integers(0, 99)),
            total_failure=draw(st.none() | st.integers(0, 99)),
        )
        found.append(
            api.snapshot(
                api.Execution(
                    id=str(number),
                    status=status,
                    result=draw(st.sampled_from([None, result])),
                    creation_date=None if created is None else int(created * 1000),
                )
            )
        )
    return found


@st.composite
def rules(draw: Any) -> WaitingRules:
    return WaitingRules(
        started=draw(times),
        deadline=draw(st.none() | times),
        poll_interval=draw(st.floats(0, 10_000)),
        expected=draw(st.integers(0, 10)),
        quiet_for=draw(st.sampled_from([0.0, 1.0, 600.0, 10_000.0])),
    )


def is_over(one: RemoteSnapshot) -> bool:
    """Read off the documented statuses, not off the code under test."""
    return one.status in ENDS


@given(executions(), rules(), times)
def test_a_verdict_is_exactly_what_the_facts_say(
    found: list[RemoteSnapshot], wanted: WaitingRules, now: float
) -> None:
    verdict = judge(found, wanted, now)
    newest = max(
        (wanted.started if one.created is None else one.created for one in found), default=wanted.started
    )
    quiet = not wanted.quiet_for or now >= newest + wanted.quiet_for
    over = all(map(is_over, found)) and len(found) >= wanted.expected and quiet
    failed = any(one.status in ("FAILED", "LOST") for one in found)
    late = wanted.deadline is not None and now >= wanted.deadline
    expected = (FailedBecause if failed else Finished) if over else PastDeadline if late else KeepWaiting
    assert type(verdict) is expected


@given(executions(), rules(), times)
def test_the_details_of_a_verdict(found: list[RemoteSnapshot], wanted: WaitingRules, now: float) -> None:
    verdict = judge(found, wanted, now)
    assert verdict.totals.total == len(found)
    assert verdict.totals.accepted == sum(one.accepted or 0 for one in found)
    assert verdict.totals.failed == sum(one.failed or 0 for one in found)
    going = [one for one in found if not is_over(one)]
    if isinstance(verdict, Finished):
        assert set(verdict.canceled) == {one.id for one in found if one.status in ("CANCELED", "CANCELLED")}
    elif isinstance(verdict, FailedBecause):
        assert all(one.id in verdict.reason for one in found if one.status in ("FAILED", "LOST"))
    elif isinstance(verdict, PastDeadline):
        assert set(verdict.pending) == {one.id for one in going if one.status == "PENDING"}
        assert set(verdict.going) == {one.id for one in going if one.status != "PENDING"}
        assert len(verdict.pending) + len(verdict.going) == len(going)
    else:
        assert set(verdict.unknown) == {one.status for one in going if one.status in ("HIBERNATING", "")}


@given(executions(least=1), rules(), times, st.randoms())
def test_the_order_of_executions_never_matters(
    found: list[RemoteSnapshot], wanted: WaitingRules, now: float, random: Any
) -> None:
    shuffled = random.sample(found, len(found))
    one, other = judge(found, wanted, now), judge(shuffled, wanted, now)
    assert type(one) is type(other)
    for name in (field.name for field in dataclasses.fields(one)):
        first, second = getattr(one, name), getattr(other, name)
        if isinstance(first, tuple):
            first, second = set(first), set(second)
        if name != "reason":  # it names ids in the order of the list
            assert first == second


@given(executions(), rules(), times)
def test_nobody_waits_past_the_deadline_nor_without_pause(
    found: list[RemoteSnapshot], wanted: WaitingRules, now: float
) -> None:
    verdict = judge(found, wanted, now)
    assume(isinstance(verdict, KeepWaiting))
    assert isinstance(verdict, KeepWaiting)
    assert verdict.seconds > 0
    assert verdict.seconds <= max(wanted.poll_interval, 0.05)
    if wanted.deadline is not None:
        assert verdict.seconds <= wanted.deadline - now


@given(executions(least=1, statuses=("HIBERNATING", "SUCCEEDED")), rules(), times)
def test_a_status_nobody_knows_is_waited_for(
    found: list[RemoteSnapshot], wanted: WaitingRules, now: float
) -> None:
    assume(any(one.status == "HIBERNATING" for one in found))
    assert isinstance(judge(found, wanted, now), KeepWaiting | PastDeadline)


@given(st.floats(0, 100_000), st.floats(0, 100_000), st.floats(5, 10_000))
def test_looks_grow_apart_with_age(younger: float, older: float, interval: float) -> None:
    wanted = WaitingRules(started=NOW, poll_interval=interval)
    younger, older = sorted((younger, older))
    assert 5 <= next_poll(wanted, NOW + younger) <= next_poll(wanted, NOW + older) <= interval


def test_an_interval_below_the_shortest_is_taken_as_it_is() -> None:
    assert next_poll(WaitingRules(started=NOW, poll_interval=0.2), NOW) == 0.2


def test_a_clock_that_went_back_is_no_age() -> None:
    assert next_poll(WaitingRules(started=NOW + 500), NOW) == 5


@given(executions(), st.none() | st.sets(st.sampled_from("0123456789")), st.booleans())
def test_what_counts(found: list[RemoteSnapshot], ids: set[str] | None, without_canceled: bool) -> None:
    counted = counting(found, ids, without_canceled=without_canceled)
    assert counted == [one for one in found if one in counted]  # order kept, nothing added
    left_out = [one for one in found if one not in counted]
    if ids is not None:
        assert {one.id for one in counted} == {one.id for one in found} & ids
    elif without_canceled and any(one.remote_status is not RemoteStatus.CANCELED for one in found):
        assert {one.remote_status for one in left_out} <= {RemoteStatus.CANCELED}
        assert RemoteStatus.CANCELED not in {one.remote_status for one in counted}
    else:
        assert not left_out


def test_a_success_without_counts_is_counted_apart() -> None:
    silent = api.snapshot(api.Execution(id="1", status="SUCCEEDED"))
    told = api.snapshot(
        api.Execution(id="2", status="SUCCEEDED", result=api.ExecutionResult(total_success=0))
    )
    failed = api.snapshot(api.Execution(id="3", status="FAILED"))
    assert judging.add_up([silent, told, failed]).uncounted == 1


@pytest.mark.parametrize("field", ["completed_tasks", "erroneous_tasks"])
@pytest.mark.parametrize("value", [7, "7"])
def test_counts_are_read_in_both_places(field: str, value: int | str) -> None:
    seen = api.snapshot(api.Execution(id="1", status="SUCCEEDED", **{field: value}))  # type: ignore[arg-type]
    assert (seen.accepted if field == "completed_tasks" else seen.failed) == 7


# Tolerance.

digits = st.text("0123456789", min_size=1, max_size=12)


@given(digits, st.integers(0, 12), st.integers(0, 10**12), st.integers(0, 10**12))
def test_a_share_is_exact(whole: str, point: int, bad: int, read: int) -> None:
    text = f"{whole[:point] or '0'}.{whole[point:] or '0'}"
    share = Fraction(text) / 100
    assume(share <= 1 and bad <= read)
    tolerance = Tolerance.parse(f"{text}%")
    assert tolerance.allows(bad, read) is (bad <= share * read)
    # The border itself.
    border = int(share * read)
    assert tolerance.allows(border, read)
    assert tolerance.allows(border + 1, read) is (share == 1)


@given(st.integers(0, 10**18), st.integers(0, 10**18), st.integers(0, 10**18))
def test_a_count_is_a_count(count: int, bad: int, read: int) -> None:
    for spelled in (count, str(count), f" {count} "):
        if len(str(count)) <= 18:
            assert Tolerance.parse(spelled).allows(bad, read) is (bad <= count)


@pytest.mark.parametrize(
    ("max_failures", "bad", "read", "good"),
    [
        (0, 0, 0, True),
        (0, 1, 1000, False),
        ("0", 0, 5, True),
        ("0%", 0, 5, True),
        ("0%", 1, 5, False),
        ("0.1%", 1, 1000, True),
        ("0.1%", 1, 999, False),
        ("0.1%", 2, 1000, False),
        ("33.3%", 333, 1000, True),
        ("33.3%", 334, 1000, False),
        # What binary fractions get wrong: 0.07 * 100 is 7.000000000000001, 0.29 * 100 is 28.999999999999996.
        ("7%", 7, 100, True),
        ("29%", 29, 100, True),
        ("100%", 5, 5, True),
        # A platform that counts errors without lines.
        ("100%", 5, 0, True),
        ("99.9%", 5, 0, False),
        ("50%", 0, 0, True),
        (" 5 % ", 5, 100, True),
    ],
)
def test_borders(max_failures: int | str, bad: int, read: int, good: bool) -> None:
    assert Tolerance.parse(max_failures).allows(bad, read) is good


@pytest.mark.parametrize(
    "nonsense",
    [
        None, True, False, -1, 0.5, 1.0, "", " ", "-1", "+1", "1.5", "0.1", "ten", "1e3", "%", "-1%", "-0.1%",
        "100.1%", "101%", "1000%", "NaN%", "sNaN%", "-NaN%", "Infinity%", "inf%", "1/2%", "5%%", "5% of them",
        "1e99999999999999999999%", "9" * 19, [], {}, b"5", object(),
    ],
)  # fmt: skip
def test_what_is_no_tolerance_is_refused_and_says_what_is(nonsense: Any) -> None:
    with pytest.raises(ValueError, match=r"^must be a count .* to accept any number of failures say '100%'"):
        Tolerance.parse(nonsense)


@given(st.text(string.printable, max_size=30) | st.text(string.digits + ".%eE+-_ NaInf", max_size=12))
def test_any_text_is_a_tolerance_or_refused(text: str) -> None:
    try:
        tolerance = Tolerance.parse(text)
    except ValueError:
        return
    assert Tolerance.parse(str(tolerance)) == Tolerance.parse(str(Tolerance.parse(str(tolerance))))
    for bad, read in ((0, 0), (1, 1), (5, 1000), (999, 1000)):
        assert Tolerance.parse(str(tolerance)).allows(bad, read) is tolerance.allows(bad, read)


@pytest.mark.parametrize(
    ("given_as", "told"), [(5, "5"), ("0.1%", "0.1%"), ("100%", "100%"), ("50.00%", "50%"), ("0%", "0%")]
)
def test_a_message_spells_it_as_people_do(given_as: int | str, told: str) -> None:
    assert str(Tolerance.parse(given_as)) == told


# What is told meanwhile.


class Log:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, text: str, *values: Any) -> None:
        self.lines.append("info " + text % values)

    def warning(self, text: str, *values: Any) -> None:
        self.lines.append("warning " + text % values)


def test_progress_is_told_when_it_changes_and_an_unknown_status_once() -> None:
    log = Log()
    progress = judging.WaitingProgress(log)
    first = judging.Totals(executions={"going": 2})
    for totals in (first, first, judging.Totals(executions={"going": 1, "succeeded": 1}, accepted=4)):
        progress.tell(totals, "1 of 2 is not over", ("HIBERNATING",))
    progress.tell(totals, "1 of 2 is not over", ("HIBERNATING", "SULKING"))
    kinds = [line.split()[0] for line in log.lines]
    assert kinds == ["warning", "info", "info", "warning"]
    assert "SULKING" in log.lines[-1] and "4 lines accepted" in log.lines[2]


def test_one_of_a_crowd_tells_what_it_waits_for_and_leaves_the_changes_to_others() -> None:
    log = Log()
    progress = judging.WaitingProgress(log)
    for count in range(3):
        progress.tell(
            judging.Totals(executions={"going": count}), "it goes on", ("SULKING",), judging.Crowd(7)
        )
    assert [line.split()[0] for line in log.lines] == ["warning", "info"]
    assert "7 tasks wait for the same" in log.lines[1]
    # Once the others have left, each change is told again.
    progress.tell(judging.Totals(executions={"going": 9}), "it goes on", ())
    assert "9 going" in log.lines[2] and "tasks wait" not in log.lines[2]


def test_the_verdict_says_until_when_it_holds_by_itself() -> None:
    rules = judging.WaitingRules(started=100.0, deadline=1000.0, quiet_for=50.0)
    verdict = judge([], rules, 120.0)
    assert isinstance(verdict, KeepWaiting) and verdict.until == 150.0
    late = judge([RemoteSnapshot(id="1", remote_status=RemoteStatus.GOING, status="RUNNING")], rules, 160.0)
    assert isinstance(late, KeepWaiting) and late.until == 1000.0


def test_one_is_singular_everywhere() -> None:
    assert [judging.how_many(count, "line") for count in (0, 1, 2)] == ["0 lines", "1 line", "2 lines"]
    assert judging.how_many(1, "batch", "batches") == "1 batch"
    assert judging.how_many(0, "batch", "batches") == "0 batches"
    assert (
        str(judging.Totals(executions={"succeeded": 1}, accepted=1))
        == "1 succeeded; 1 line accepted, 0 failed"
    )


@given(st.lists(st.integers(0, 10**6).map(str), unique=True))
def test_a_few_ids_are_named_and_the_rest_counted(ids: list[str]) -> None:
    told = judging.name_ids(ids)
    assert told.split(" and ")[0].split(", ") == (ids[:10] or [""])
    assert told.endswith(f" and {len(ids) - 10} more") is (len(ids) > 10)
