"""Several writes at once: order, bounds, errors and stops, with writes that end when the test says so."""

import random
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_bulk.extract_load import writing
from airflow_bulk.extract_load.writing import AHEAD, OrderedWrites, read_at_once
from airflow_bulk.pausing import pause


def nothing():
    pass


def keep(item, answer):
    return item, answer


class Released:
    """Writes that wait, and end in a random order; it counts how many are under way."""

    def __init__(self, seed):
        self.dice = random.Random(seed)
        self.changed = threading.Condition()
        self.waiting = []
        self.most = 0
        self.over = False

    def __call__(self, item):
        with self.changed:
            self.waiting.append(item)
            self.most = max(self.most, len(self.waiting))
            self.changed.notify_all()
            self.changed.wait_for(lambda: item not in self.waiting)
        return f"answer {item}"

    def release(self):
        with self.changed:
            while not self.over:
                if self.waiting:
                    self.waiting.remove(self.dice.choice(self.waiting))
                    self.changed.notify_all()
                self.changed.wait(0.001)

    def __enter__(self):
        self.thread = threading.Thread(target=self.release)
        self.thread.start()
        return self

    def __exit__(self, *_):
        with self.changed:
            self.over = True
            self.changed.notify_all()
        self.thread.join()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.booleans(), max_size=40),
    st.integers(1, 9),
    st.integers(0, 2**32),
)
def test_results_come_in_the_order_of_the_items_whatever_ends_first(needs, at_once, seed):
    permits, read = [], []

    def items():
        for number in range(len(needs)):
            read.append(number)
            yield number

    with Released(seed) as write, OrderedWrites(at_once, lambda: permits.append(1)) as writes:
        results, ahead = [], 0
        for result in writes.in_order(items(), write, keep, needed=needs.__getitem__):
            ahead = max(ahead, len(read) - len(results))
            results.append(result)
        assert writes.under_way == 0
    assert results == [(n, f"answer {n}" if needed else None) for n, needed in enumerate(needs)]
    assert write.most <= at_once
    assert ahead <= AHEAD * at_once
    assert len(permits) >= sum(needs)


def test_as_many_are_under_way_as_were_asked_for():
    everybody = threading.Barrier(5)
    with OrderedWrites(5, nothing) as writes:
        assert len(list(writes.in_order(range(10), lambda item: everybody.wait(30), keep))) == 10


def test_a_slow_first_write_holds_up_a_bounded_number_of_results():
    at_once, read, ended = 4, [], []
    first = threading.Event()

    def write(item):
        if item == 0:
            assert first.wait(30)
        return item

    def settle(item, answer):
        ended.append(item)
        if len(ended) == AHEAD * at_once - 1:
            seen.append(len(read))
            first.set()
        return item

    seen = []
    items = (read.append(number) or number for number in range(500))
    with OrderedWrites(at_once, nothing) as writes:
        assert list(writes.in_order(items, write, settle)) == list(range(500))
    assert seen == [AHEAD * at_once]


def test_one_at_once_runs_in_the_calling_thread():
    here, threads, order = threading.get_ident(), threading.active_count(), []

    def write(item):
        order.append(("write", item, threading.get_ident() == here, threading.active_count() == threads))

    with OrderedWrites(1, lambda: order.append("permit")) as writes:
        for item, _ in writes.in_order(range(2), write, keep):
            order.append(("yielded", item))
    assert order == [
        *("permit", ("write", 0, True, True), ("yielded", 0)),
        *("permit", ("write", 1, True, True), ("yielded", 1)),
    ]


def test_the_first_error_in_order_is_raised_and_what_is_under_way_counts():
    begun, settled = [], []
    all_begun, failed = threading.Barrier(4), threading.Event()

    def write(item):
        begun.append(item)
        if item < 4:
            all_begun.wait(30)
        if item == 2:
            failed.set()
            raise ValueError("the later one, and it comes first")
        assert failed.wait(30)
        if item == 1:
            raise KeyError("the first one in order")
        return item

    def settle(item, answer):
        settled.append(item)
        return item

    with pytest.raises(KeyError), OrderedWrites(4, nothing) as writes:
        list(writes.in_order(range(100), write, settle))
    assert sorted(begun) == [0, 1, 2, 3]
    assert sorted(settled) == [0, 3]


def test_an_answer_that_is_judged_bad_stops_the_others_too():
    begun = []

    def settle(item, answer):
        if item == 3:
            raise ValueError(item)

    def write(item):
        begun.append(item)

    with pytest.raises(ValueError, match="3"), OrderedWrites(2, nothing) as writes:
        list(writes.in_order(range(100), write, settle))
    # One more may have been under way for each result that was judged.
    assert len(begun) <= 3 + 1 + AHEAD * 2


def test_an_error_cuts_what_waits_to_leave():
    """A write that waits for a rate limit or a Retry-After has not left: it never does."""
    waiting = threading.Barrier(3)
    left = []

    def write(item):
        waiting.wait(30)
        if item == 0:
            raise ValueError("no")
        pause(3600)
        left.append(item)

    with pytest.raises(ValueError, match="no"), OrderedWrites(3, nothing) as writes:
        list(writes.in_order(range(9), write, keep))
    assert left == []
    assert writes.under_way == 0


@pytest.mark.parametrize("at_once", [1, 3])
def test_a_permit_is_asked_while_all_wait_and_what_it_raises_stops_them(monkeypatch, at_once):
    monkeypatch.setattr(writing, "PERMIT_SECONDS", 0.01)
    monkeypatch.setattr(writing.time, "sleep", lambda seconds: None)
    asked, left = [], []

    def permit():
        asked.append(1)
        if len(asked) > at_once:
            raise PermissionError

    def write(item):
        pause(3600)
        left.append(item)

    with pytest.raises(PermissionError), OrderedWrites(at_once, permit) as writes:
        list(writes.in_order(range(9), write, keep))
    assert left == []
    assert writes.under_way == 0


def test_a_stop_counts_what_ends_in_time_and_tells_how_many_do_not(monkeypatch):
    monkeypatch.setattr(writing, "PERMIT_SECONDS", 0.01)
    monkeypatch.setattr(writing, "STOP_SECONDS", 0.5)
    never, stopped, settled = threading.Event(), threading.Event(), []
    all_begun = threading.Barrier(3, action=stopped.set)

    def permit():
        if stopped.is_set():
            raise PermissionError

    def write(item):
        all_begun.wait(30)
        if item == 1:
            never.wait(30)
        return item

    with pytest.raises(PermissionError), OrderedWrites(3, permit) as writes:
        list(writes.in_order(range(9), write, lambda item, answer: settled.append(item)))
    assert set(settled) == {0, 2}
    assert writes.under_way == 1
    never.set()


@pytest.mark.parametrize("value", [0, 65, -1, True, 2.0, "4", None])
def test_a_number_that_cannot_be_meant_is_refused(value):
    with pytest.raises(ValueError, match=r"a whole number from 1 .* to 64"):
        read_at_once(value)
    assert (read_at_once(1), read_at_once(64)) == (1, 64)
