"""Bodies at once and bytes a second, over processes that know nothing of each other."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from tests.hooks.sending.pooling import GOOD, Gate, jobs_of, make_pool, target_of
from tests.hooks.sending.sink import Sink

from airflow_bulk.hooks.limits import bodies
from airflow_bulk.hooks.limits.bodies import BodyLimits, BodyTurns, NoPlace
from airflow_bulk.hooks.limits.rate import RateBudget
from airflow_bulk.hooks.limits.store import ProcessStore, StoreAddress, open_store
from airflow_bulk.platforms.errors import TryLater

SCRIPT = Path(__file__).with_name("shared_script.py")


@pytest.fixture
def sink():
    sink = Sink()
    yield sink
    sink.close()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.ndjson"
    path.write_bytes(b"".join(GOOD % number for number in range(20_000)))
    return path


def limits_in(folder: Path, **limits: Any) -> BodyLimits:
    return BodyLimits(address=StoreAddress(folder=str(folder)), names=(str(uuid.uuid4()),), **limits)


class Overlapping:
    """Counts the bodies that are on their way to a sink at the same time."""

    def __init__(self, sink: Sink) -> None:
        self.now = self.most = 0
        self._lock = threading.Lock()
        take = sink.answer
        sink.on_bytes = self._begun
        sink.answer = lambda number: self._over() or take(number)
        self._seen: set[int] = set()

    def _begun(self, count: int) -> None:
        time.sleep(0.02)  # so bodies meet unless they are kept from it
        with self._lock:
            if threading.get_ident() not in self._seen:
                self._seen.add(threading.get_ident())
                self.now += 1
                self.most = max(self.most, self.now)

    def _over(self) -> None:
        with self._lock:
            if threading.get_ident() in self._seen:
                self._seen.discard(threading.get_ident())
                self.now -= 1


@pytest.mark.parametrize("most", [1, 2])
def test_no_more_bodies_at_once_than_agreed(sink: Sink, source: Path, tmp_path: Path, most: int) -> None:
    """Two tasks with two sending processes each."""
    overlapping = Overlapping(sink)
    limits = limits_in(tmp_path / "limits", max_uploads=most)
    gates = [Gate(), Gate()]

    def send(gate: Gate) -> None:
        with make_pool(source, workers=2) as pool:
            pool.run(pool.first_pass(), gate)
            pool.aim(target_of(sink, limits=limits))
            while todo := [one for one in gate.parts if one.index not in sent(gate)]:
                pool.run(jobs_of(todo, check=False), gate)

    def sent(gate: Gate) -> set[int]:
        return {index for what, index in gate.events if what == "answered"}

    threads = [threading.Thread(target=send, args=(gate,)) for gate in gates]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert [len(gate.answers) for gate in gates] == [len(gate.parts) for gate in gates]
    assert len(sink.taken) == 2 * len(gates[0].parts) > 10
    assert 0 < overlapping.most <= most


def test_bytes_leave_at_the_agreed_rate(sink: Sink, source: Path, tmp_path: Path) -> None:
    size = source.stat().st_size
    rate = size / 2  # so two seconds at least
    limits = limits_in(tmp_path / "limits", max_bytes_per_second=rate)
    gate = Gate()
    with make_pool(source, workers=2) as pool:
        pool.run(pool.first_pass(), gate)
        pool.aim(target_of(sink, limits=limits))
        begun = time.monotonic()
        pool.run(jobs_of(gate.parts, check=False), gate)
        took = time.monotonic() - begun
    assert len(gate.answers) == len(gate.parts)
    assert took >= size / rate - 0.01


def test_a_place_of_a_killed_sender_comes_back(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name = str(uuid.uuid4())
    command = [sys.executable, str(SCRIPT), "hold", redis_url, name, "1"]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    limits = BodyLimits(address=StoreAddress(redis_url=redis_url), names=(name,), max_uploads=1)
    turns = BodyTurns(limits, lambda: False)
    monkeypatch.setattr(bodies, "PATIENCE", 1.0)
    with pytest.raises(NoPlace), turns.body():
        pass
    holder.kill()
    holder.wait(30)
    monkeypatch.setattr(bodies, "PATIENCE", 2 * bodies.LEASE)
    with turns.body():
        pass


def test_a_place_lasts_as_long_as_it_is_renewed() -> None:
    now = [1000.0]
    store = ProcessStore(lambda: now[0])
    one, other = (bodies._BodyPlace(store, "x", 1) for _ in range(2))
    assert one.take()
    for _ in range(10):
        now[0] += bodies.LEASE - 1
        assert one.take()
        assert not other.take()
    now[0] += bodies.LEASE + 1
    assert other.take()
    assert not one.take()


def test_a_place_that_was_lost_is_seen_when_it_is_renewed() -> None:
    now = [1000.0]
    store = ProcessStore(lambda: now[0])
    one, other = (bodies._BodyPlace(store, "x", 1) for _ in range(2))
    assert one.take()
    assert store.change("x", one._renew)
    now[0] += bodies.LEASE + 1
    assert other.take()
    assert not store.change("x", one._renew)


def test_a_body_that_waits_for_its_turn_hears_of_a_silence(tmp_path: Path) -> None:
    limits = limits_in(tmp_path / "limits", requests_per_minute=30)
    budget = RateBudget(30, open_store(limits.address), f"requests {limits.names[0]}")
    budget.reserve()
    left: list[float] = []
    turns = BodyTurns(limits, lambda: False)
    waiting = threading.Thread(target=lambda: (turns.request(), left.append(time.monotonic())))
    waiting.start()
    time.sleep(0.3)
    budget.retry_after(6)
    ends = time.monotonic() + 6
    waiting.join(60)
    assert left[0] >= ends - 0.01


def test_nothing_waits_past_the_deadline(tmp_path: Path) -> None:
    limits = limits_in(
        tmp_path / "limits",
        max_uploads=1,
        requests_per_minute=1,
        max_bytes_per_second=1,
        deadline=time.time() - 1,
    )
    turns = BodyTurns(limits, lambda: False)
    with pytest.raises(NoPlace), turns.body():
        pass
    turns.request()
    with pytest.raises(NoPlace, match="deadline"):
        turns.request()
    with pytest.raises(NoPlace, match="deadline"):
        turns.bytes(100)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_store_that_is_away_for_a_moment_cuts_no_body(
    sink: Sink, source: Path, tmp_path: Path, workers: int
) -> None:
    """Somebody else's folder stands in the place of the store while a body is on its way."""
    folder, away = tmp_path / "limits", tmp_path / "away"
    limits = limits_in(folder, max_bytes_per_second=source.stat().st_size / 4)
    gate = Gate()

    def interrupt() -> None:
        # All that go at once: a body that has not begun needs the store, and fails where nobody can be asked.
        sink.wait_for(lambda: sink.begun >= workers)
        for _ in range(3):
            folder.rename(away)
            folder.touch()
            time.sleep(0.2)
            folder.unlink()
            away.rename(folder)
            time.sleep(0.2)

    with make_pool(source, workers=workers, limit=400_000) as pool:
        pool.run(pool.first_pass(), gate)
        pool.aim(target_of(sink, limits=limits))
        interrupting = threading.Thread(target=interrupt)
        interrupting.start()
        pool.run(jobs_of(gate.parts, check=False), gate)
        interrupting.join()
    assert (sink.cut, gate.errors) == ([], [])
    assert len(gate.answers) == len(gate.parts)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_store_that_cannot_be_asked_sends_nothing(
    sink: Sink, source: Path, tmp_path: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "PATIENCE", 0.5)
    (tmp_path / "other").mkdir()
    (tmp_path / "limits").symlink_to(tmp_path / "other")
    limits = limits_in(tmp_path / "limits", max_uploads=1)
    gate = Gate()
    with make_pool(source, workers=workers) as pool:
        pool.run(pool.first_pass(), gate)
        pool.aim(target_of(sink, limits=limits))
        with pytest.raises(TryLater, match="another user") as told:
            pool.run(jobs_of(gate.parts, check=False), gate)
    assert "goes on with the parts that were not taken" in str(told.value)
    assert (sink.taken, sink.begun, gate.answers) == ([], 0, [])


def test_a_stopped_sender_waits_for_nothing(tmp_path: Path) -> None:
    limits = limits_in(tmp_path / "limits", max_uploads=1, requests_per_minute=1, max_bytes_per_second=1)
    with BodyTurns(limits, lambda: False).body():
        stopped = BodyTurns(limits, lambda: True)
        with pytest.raises(NoPlace), stopped.body():
            pass
        stopped.request()
        stopped.request()
        stopped.bytes(10**6)
