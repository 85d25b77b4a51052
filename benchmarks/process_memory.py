"""Memory and nameless temporary files of a process and its children, sampled while it runs."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from pathlib import Path


class Watch(threading.Thread):
    """Samples a process and its children: memory, and bytes in files without a name."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.memory, self.temporary = pid, 0, 0
        self._over = threading.Event()
        self.start()

    def run(self) -> None:
        while not self._over.wait(0.1):
            pids = [self.pid, *children(self.pid)]
            self.memory = max(self.memory, sum(map(proportional, pids)))
            self.temporary = max(self.temporary, sum(map(nameless, pids)))

    def stop(self) -> None:
        self._over.set()
        self.join()


def children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def proportional(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def highest(pid: int | str = "self") -> int:
    """The most resident memory that a process ever had, in bytes, with the pages that it shares; 0 where that cannot be read."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def nameless(pid: int) -> int:
    total = 0
    with contextlib.suppress(OSError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if str(entry.readlink()).endswith("(deleted)"):
                    total += entry.stat().st_size
    return total


def idle_memory() -> int:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    time.sleep(0.5)
    memory = proportional(process.pid)
    process.communicate(b"\n")
    return memory
