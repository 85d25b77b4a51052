"""Cut, killed, or failed: no body becomes whole afterwards, and no process stays."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.hooks.sending.pooling import (
    ALL_WAYS,
    GOOD,
    Gate,
    jobs_of,
    make_pool,
    target_of,
)

from airflow_bulk.hooks.sending.children import ChildLost
from airflow_bulk.hooks.sending.protocol import SendingCut, Target


@ALL_WAYS
def test_cut_from_a_signal_handler(tmp_path, sink, workers):
    gate = Gate()
    path = tmp_path / "big.ndjson"
    path.write_bytes(b"".join(GOOD % number for number in range(400_000)))
    sink.on_bytes = lambda count: time.sleep(0.2)
    with make_pool(path, workers, limit=11_000_000) as pool:
        pool.run(pool.first_pass(), gate)
        pool.aim(target_of(sink))
        before = signal.signal(signal.SIGALRM, lambda number, frame: pool.cut())
        # As soon as a body is on its way, and not before.
        gate.on_begin = lambda part: signal.setitimer(signal.ITIMER_REAL, 0.1)
        try:
            with pytest.raises(SendingCut):
                pool.run(jobs_of(gate.parts, check=False), gate)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        with pytest.raises(SendingCut):
            pool.run(jobs_of(gate.parts, check=False), gate)
    assert sink.wait_for(lambda: len(sink.cut) >= 1)
    assert not sink.taken and not gate.errors


def test_cut_while_checking(source):
    gate = Gate()
    with make_pool(source, limit=10_000) as pool:
        gate.checked = lambda part, findings: pool.cut()
        with pytest.raises(SendingCut):
            pool.run(pool.first_pass(), gate)


def test_a_killed_parent_takes_its_children_along(sink, tmp_path):
    path = tmp_path / "big.ndjson"
    path.write_bytes(b"".join(GOOD % number for number in range(400_000)))
    sink.on_bytes = lambda count: time.sleep(0.2)
    script = Path(__file__).with_name("pool_script.py")
    parent = subprocess.Popen(
        [sys.executable, str(script), str(path), sink.url], stdout=subprocess.PIPE, text=True
    )
    with parent:
        children = [int(pid) for pid in re.findall(r"\d+", parent.stdout.readline())]
        assert len(children) == 2
        for child in children:
            assert "canary" not in Path(f"/proc/{child}/cmdline").read_text()
            assert "canary" not in Path(f"/proc/{child}/environ").read_text()
        assert sink.wait_for(lambda: sink.begun == 2)
        parent.kill()
    assert sink.wait_for(lambda: not any(_alive(child) for child in children))
    assert sink.wait_for(lambda: len(sink.cut) == 2)
    assert not sink.taken


def _alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_a_killed_child_ends_the_run_and_its_part_is_told(sink, source):
    gate = Gate()

    def kill_children(part):
        for child in pool._engine.children:
            os.kill(child._process.pid, signal.SIGKILL)

    gate.on_begin = kill_children
    with make_pool(source, 2) as pool:
        pool.run(pool.first_pass(), gate)
        pool.aim(target_of(sink))
        with pytest.raises(ChildLost, match=r"-9.*killed for its memory.*A retry goes on"):
            pool.run(jobs_of(gate.parts, check=False), gate)
    assert gate.errors and all(isinstance(error, SendingCut) for error in gate.errors)
    assert not sink.taken


def test_the_traceback_of_a_child_is_in_the_log_and_not_in_the_error(sink, source, caplog):
    gate = Gate()
    target = Target(url=sink.url, headers={"Authorization": "canary\r\n"})
    with make_pool(source, 2) as pool:
        pool.run(pool.first_pass(), gate)
        pool.aim(target)
        with pytest.raises(ChildLost, match="its traceback is in the log") as caught:
            pool.run(jobs_of(gate.parts, check=False), gate)
    assert "Traceback" not in str(caught.value)
    assert "The header 'Authorization' would hold characters that no header may have" in caplog.text
    assert "canary" not in caplog.text
    assert not sink.taken


def test_an_exception_in_the_gate_leaves_no_process(sink, source):
    gate = Gate()
    with pytest.raises(ZeroDivisionError), make_pool(source, 2) as pool:
        children = [child._process for child in pool._engine.children]
        gate.checked = lambda part, findings: 1 / 0
        pool.run(pool.first_pass(), gate)
    assert all(child.returncode is not None for child in children)
