"""Nothing completes that the gate has not allowed, and the gate hears of every body once."""

from __future__ import annotations

import time

import pytest
from tests.hooks.sending.pooling import (
    ALL_WAYS,
    GOOD,
    GOOD_LINES,
    GOOD_SET,
    Gate,
    jobs_of,
    make_pool,
    sent_lines,
    target_of,
)
from tests.hooks.sending.sink import answer

from airflow_bulk.documents.source.parts import Part
from airflow_bulk.hooks.sending.coordinator import SendCoordinator
from airflow_bulk.hooks.sending.protocol import Answer, AnswerLost, Job, NotNow, SendingCut


@ALL_WAYS
def test_the_gate_refuses_the_last_block(sink, source, workers):
    gate = Gate()

    def refuse(part):
        raise PermissionError("superseded")

    gate.on_finish = refuse
    with make_pool(source, workers) as pool:
        pool.run(pool.first_pass(), gate)
        pool.aim(target_of(sink))
        with pytest.raises(PermissionError, match="superseded"):
            pool.run(jobs_of(gate.parts, check=False), gate)
    assert sink.wait_for(lambda: len(sink.cut) >= 1)
    assert not sink.taken and sink.resets >= 1


@ALL_WAYS
def test_the_gate_refuses_to_begin(sink, source, workers):
    gate = Gate()

    def refuse(part):
        raise PermissionError("superseded")

    gate.on_begin = refuse
    with make_pool(source, workers) as pool:
        pool.run(pool.first_pass(), gate)
        pool.aim(target_of(sink))
        with pytest.raises(PermissionError, match="superseded"):
            pool.run(jobs_of(gate.parts, check=False), gate)
    assert not sink.connections


@ALL_WAYS
def test_a_commit_that_takes_too_long_cuts_the_body(sink, source, workers):
    gate = Gate()
    gate.on_finish = lambda part: time.sleep(0.3) if part.index == 0 else None
    with make_pool(source, workers, commit_window=0.2) as pool:
        pool.run(pool.first_pass(), gate)
        pool.aim(target_of(sink))
        pool.run(jobs_of(gate.parts[:1], check=False), gate)
    assert [type(error) for error in gate.errors] == [SendingCut]
    assert not sink.taken and sink.wait_for(lambda: len(sink.cut) == 1)


@ALL_WAYS
def test_no_answer_leaves_the_fate_unknown_and_the_run_goes_on(sink, source, workers):
    gate = Gate()
    sink.answer = lambda number: None if number == 0 else answer(200, b"{}")
    with make_pool(source, workers) as pool:
        pool.run(pool.first_pass(), gate)
        pool.aim(target_of(sink))
        pool.run(jobs_of(gate.parts, check=False), gate)
    assert [type(error) for error in gate.errors] == [AnswerLost]
    assert sent_lines(sink) == GOOD_LINES


def test_a_silent_server_times_out(sink, source):
    gate = Gate()
    sink.answer = lambda number: time.sleep(3)
    with make_pool(source) as pool:
        pool.run(pool.first_pass(), gate)
        pool.aim(target_of(sink, read_timeout=0.3))
        pool.run(jobs_of(gate.parts[:1], check=False), gate)
    assert "timed out" in str(gate.errors[0]) and isinstance(gate.errors[0], AnswerLost)


@ALL_WAYS
def test_a_server_that_is_not_there_is_a_cut(sink, source, workers):
    gate = Gate()
    sink.close()
    with make_pool(source, workers) as pool:
        pool.run(pool.first_pass(), gate)
        pool.aim(target_of(sink))
        pool.run(jobs_of(gate.parts[:2], check=False), gate)
    assert [type(error) for error in gate.errors] == [SendingCut, SendingCut]
    assert "refused" in str(gate.errors[0])


def test_a_lost_part_can_be_given_again(sink, source):
    gate, again = Gate(), []
    gate.on_lost = lambda part, error: again.append(part)
    sink.answer = lambda number: None if number % 2 else answer(200, b"{}")
    with make_pool(source, 2) as pool:
        pool.run(pool.first_pass(), gate)
        pool.aim(target_of(sink))
        todo = list(gate.parts)

        def next_job(in_flight):
            part = (again or todo or [None]).pop(0)
            return Job(part=part, check=False) if part else None

        pool.run(next_job, gate)
    assert len(gate.answers) == len(gate.parts)
    assert set(sent_lines(sink)) == GOOD_SET


@pytest.mark.parametrize("limit", [100_000, 4_000_000])
def test_an_answer_before_the_end_is_an_answer(sink, tmp_path, limit):
    path = tmp_path / "big.ndjson"
    path.write_bytes(b"".join(GOOD % number for number in range(200_000)))
    gate = Gate()
    sink.early = answer(413, b'{"status":"error"}')
    with make_pool(path, limit=limit) as pool:
        pool.run(pool.first_pass(), gate)
        pool.aim(target_of(sink))
        pool.run(jobs_of(gate.parts[:2], check=False), gate)
    told = {one.status for one in gate.answers}
    # A server that closes while bytes are on their way may lose its own answer: then it is a cut.
    assert told <= {413} and all(isinstance(error, SendingCut) for error in gate.errors)
    assert len(gate.answers) + len(gate.errors) == 2


def test_a_connection_that_the_server_closed_is_replaced(sink, source):
    gate = Gate()
    sink.close_after = 1
    gate.on_begin = lambda part: time.sleep(0.05)
    with make_pool(source) as pool:
        pool.run(pool.first_pass(), gate)
        pool.aim(target_of(sink))
        pool.run(jobs_of(gate.parts, check=False), gate)
    assert not gate.errors and sink.connections == len(gate.parts)
    assert sent_lines(sink) == GOOD_LINES


def test_answers_are_capped_and_lower_case(sink, source):
    gate = Gate()
    sink.answer = lambda number: answer(500, b"x" * 1_500_000)
    with make_pool(source) as pool:
        pool.run(pool.first_pass(), gate)
        pool.aim(target_of(sink))
        pool.run(jobs_of(gate.parts[:2], check=False), gate)
    assert [(one.status, len(one.body)) for one in gate.answers] == [(500, 1_000_000)] * 2
    assert isinstance(gate.answers[0], Answer) and gate.answers[0].headers["content-type"]


def test_a_refusal_while_the_body_waits_for_its_commit_saves_the_commit(sink, source):
    """The server answers as soon as it has the head, and never reads on."""
    gate = Gate()
    sink.early = answer(401, b"{}")
    with make_pool(source, limit=2_000_000) as pool:
        pool.run(pool.first_pass(), gate)
        pool.aim(target_of(sink))
        pool.run(jobs_of(gate.parts[:1], check=False), gate)
    assert [event for event, _ in gate.events].count("finish") == 0


@ALL_WAYS
def test_a_part_may_be_left_for_later(sink, source, workers):
    gate = Gate()
    lost = []

    def only_when_settled(part):
        if lost:
            raise NotNow

    gate.on_begin = only_when_settled
    gate.on_lost = lambda part, error: lost.append(part)
    sink.answer = lambda number: None if number == 0 else answer(200, b"{}")
    with make_pool(source, workers) as pool:
        pool.aim(target_of(sink))
        jobs = pool.first_pass(send=True)
        pool.run(jobs, gate)
        told = len(gate.answers) + len(lost)
        assert told < len(gate.parts) and [part.index for part in gate.parts] == list(range(len(gate.parts)))
        done = {index for event, index in gate.events if event in ("answered", "lost")}
        lost.clear()
        pool.run(jobs_of([part for part in gate.parts if part.index not in done], check=False), gate)
    assert sent_lines(sink) == GOOD_LINES


def test_a_lost_part_may_be_given_again_before_its_worker_is_done():
    """The other worker may be free first: what the first one says last is not about the second flight."""
    gate, coordinator = Gate(), SendCoordinator([], None, 2.0)
    coordinator.gate = gate
    part = Part(index=4, file=0, start=0, length=10, lines=1, body=10, digest="d")
    for _ in range(2):
        coordinator.task(Job(part=part, check=False), needs_check=False)
        coordinator.may_begin(part.index)
        coordinator.lost(part.index, SendingCut("cut"))
    coordinator.task(Job(part=part, check=False), needs_check=False)
    coordinator.may_begin(part.index)
    coordinator.done(part.index)
    coordinator.done(part.index)
    assert coordinator.in_flight == [part]
    coordinator.answered(part.index, Answer(200, {}, b""))
    coordinator.done(part.index)
    assert coordinator.in_flight == []
    assert gate.events == [(what, 4) for what in ("begin", "lost", "begin", "lost", "begin", "answered")]
