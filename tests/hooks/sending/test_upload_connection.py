"""The connection: every length arrives exactly, and what is called a cut was never complete."""

from __future__ import annotations

import random
from collections import Counter

import pytest
import xxhash
from tests.hooks.sending.sink import Sink, answer

from airflow_bulk.documents.source.cuts import Layout
from airflow_bulk.documents.source.files import find_files
from airflow_bulk.hooks.limits.bodies import BodyTurns
from airflow_bulk.hooks.limits.store import boot_time
from airflow_bulk.hooks.sending.pool import SenderPool
from airflow_bulk.hooks.sending.protocol import AnswerLost, Job, LineRules, SendingCut, Target
from airflow_bulk.hooks.sending.upload_connection import BUFFER, LAST_BLOCK, UploadConnection


@pytest.fixture(params=["plain", "TLS"])
def sink(request, certificate):
    sink = Sink(certificate if request.param == "TLS" else None)
    yield sink
    sink.close()


class Bytes:
    """A body in memory, which may come in small pieces."""

    def __init__(self, data: bytes, most: int = BUFFER) -> None:
        self._data, self._place, self._most = data, 0, most

    @property
    def digest(self) -> str:
        return xxhash.xxh3_128(self._data[: self._place]).hexdigest()

    def readinto(self, view: memoryview) -> int:
        count = min(len(view), self._most, len(self._data) - self._place)
        view[:count] = self._data[self._place : self._place + count]
        self._place += count
        return count


EDGES = [
    base + step
    for base in (1, LAST_BLOCK, BUFFER, BUFFER + LAST_BLOCK, 2 * BUFFER)
    for step in (-1, 0, 1)
    if base + step
]


@pytest.mark.parametrize("most", [BUFFER, LAST_BLOCK - 1, 5_000])
def test_bodies_of_every_length_arrive_whole(sink, most):
    connection = UploadConnection(
        Target(url=sink.url, headers={}, verify=False), BodyTurns(None, lambda: False)
    )
    source = random.Random(7).randbytes(max(EDGES))
    for length in EDGES:
        held_back = []

        def may_finish(length=length, held_back=held_back) -> float:
            held_back.append(len(sink.taken))
            return boot_time() + 5

        body = Bytes(source[:length], most)
        got = connection.post(length, body, xxhash.xxh3_128(source[:length]).hexdigest(), may_finish)
        assert got.status == 200
        assert sink.taken[-1].body == source[:length]
        assert held_back == [len(sink.taken) - 1]  # the last block was not there when the gate was asked
    assert sink.connections == 1
    connection.close()


GOOD = b'{"operation":"DELETE","user_account_id":"%07d"}\n'


class Trouble:
    """A server in trouble: it resets, hangs up without a word, or answers this and that."""

    def __init__(self, sink: Sink, seed: int) -> None:
        self._random, self._first = random.Random(seed), True
        sink.on_bytes, sink.answer = self.on_bytes, self.answer

    def on_bytes(self, count: int) -> None:
        # The first body for certain: how often this is asked depends on how the bytes arrive.
        if self._first or self._random.random() < 0.05:
            self._first = False
            raise ConnectionResetError

    def answer(self, number: int) -> bytes | None:
        status = self._random.choice([200, 200, 200, 500, 0])
        return answer(status, b"{}") if status else None


class Stubborn:
    """Sends every part until it is answered with 200, and keeps count."""

    def __init__(self) -> None:
        self.parts, self.again = [], []
        self.complete: Counter[str] = Counter()
        self.unknown: Counter[str] = Counter()

    def checked(self, part, findings):
        self.parts.append(part)

    def may_begin(self, part):
        pass

    may_finish = may_begin

    def answered(self, part, answer):
        self.complete[part.digest] += 1
        if answer.status != 200:
            self.again.append(part)

    def lost(self, part, error):
        assert isinstance(error, SendingCut | AnswerLost)
        self.unknown[part.digest] += isinstance(error, AnswerLost)
        self.again.append(part)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_cut_body_was_never_complete_and_an_answered_one_was(tmp_path, sink, workers, seed):
    path = tmp_path / "source.ndjson"
    path.write_bytes(b"".join(GOOD % number for number in range(60_000)))
    Trouble(sink, seed)
    gate = Stubborn()
    layout = Layout(max_part_bytes=200_000, workers=workers)
    rules = LineRules(document_type="USER_PROFILE")
    with SenderPool(files=find_files(str(path)), rules=rules, layout=layout, workers=workers) as pool:
        pool.run(pool.first_pass(), gate)
        pool.aim(Target(url=sink.url, headers={}, verify=False))
        todo = list(gate.parts)

        def next_job(in_flight):
            part = (todo or gate.again or [None]).pop(0)
            return Job(part=part, check=False) if part else None

        pool.run(next_job, gate)
    arrived = Counter(xxhash.xxh3_128(taken.body).hexdigest() for taken in sink.taken)
    assert gate.complete <= arrived <= gate.complete + gate.unknown
    assert len(arrived) == len(gate.parts)
    assert sink.cut
