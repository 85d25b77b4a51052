"""Bodies go where the connection says and nowhere else: no redirect is followed, no other name's certificate is trusted."""

from __future__ import annotations

import contextlib

import pytest
from tests.hooks.sending.pooling import ALL_WAYS, Gate, jobs_of, make_pool, target_of
from tests.hooks.sending.sink import Sink

from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.hooks.sending.protocol import Target


@pytest.fixture
def other():
    with contextlib.closing(Sink()) as sink:
        yield sink


def moved(to: str, status: int) -> bytes:
    return b"HTTP/1.1 %d Moved\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % (status, to.encode())


def sent(source, workers, target, parts=1) -> Gate:
    gate = Gate()
    with make_pool(source, workers) as pool:
        pool.run(pool.first_pass(), gate)
        pool.aim(target)
        pool.run(jobs_of(gate.parts[:parts], check=False), gate)
    return gate


@ALL_WAYS
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_a_redirect_of_a_body_is_an_answer_like_others(sink, other, source, workers, status, name):
    sink.answer = lambda number: moved(other.url.replace("localhost", name), status)
    gate = sent(source, workers, target_of(sink))
    assert [answer.status for answer in gate.answers] == [status]
    assert (len(sink.taken), other.connections) == (1, 0)
    assert b"canary-token" in sink.taken[0].head


@ALL_WAYS
def test_a_redirect_before_the_end_of_a_body_leads_nowhere(sink, other, source, workers):
    sink.early = moved(other.url, 307)
    gate = sent(source, workers, target_of(sink))
    # It is seen while the body is sent, which is a cut, or when all of it has left.
    assert [answer.status for answer in gate.answers] in ([], [307])
    assert len(gate.answers) + len(gate.errors) == 1
    assert not any("canary" in str(error) for error in gate.errors)
    assert (sink.taken, other.connections) == ([], 0)


@ALL_WAYS
def test_a_certificate_for_another_name_gets_no_body(certificate, source, workers):
    cert, key = map(str, certificate)
    with Emulator.start(host="127.0.0.2", certfile=cert, keyfile=key) as emulator:
        headers = {"Authorization": "canary-token"}
        gate = sent(source, workers, Target(url=emulator.url + "/v1/x", headers=headers, verify=cert))
    assert "certificate is not valid for '127.0.0.2'" in str(gate.errors[0])
    assert "canary" not in str(gate.errors[0])
