"""A source, a pool and a gate for the tests of this folder."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
import zstandard
from tests.hooks.sending.sink import Sink

from airflow_bulk.documents.source.cuts import Layout
from airflow_bulk.documents.source.files import find_files
from airflow_bulk.hooks.sending.pool import SenderPool
from airflow_bulk.hooks.sending.protocol import Job, LineRules, Target

RULES = LineRules(document_type="USER_PROFILE")


GOOD = b'{"operation":"DELETE","user_account_id":"%07d"}\n'


ALL_WAYS = pytest.mark.parametrize("workers", [1, 2])


class Gate:
    """Writes down what it is asked and told."""

    def __init__(self) -> None:
        self.parts, self.findings, self.events, self.answers, self.errors = [], [], [], [], []
        self.on_begin = self.on_finish = lambda part: None
        self.on_lost = lambda part, error: None
        self.flying: dict[int, int] = {}
        self.twins = 0

    def checked(self, part, findings):
        self.parts.append(part)
        self.findings.append(findings)

    def may_begin(self, part):
        self.events.append(("begin", part.index))
        self.twins += part.lines in self.flying.values()
        self.flying[part.index] = part.lines
        self.on_begin(part)

    def may_finish(self, part):
        self.events.append(("finish", part.index))
        self.on_finish(part)

    def answered(self, part, answer):
        self.events.append(("answered", part.index))
        self.flying.pop(part.index)
        self.answers.append(answer)

    def lost(self, part, error):
        self.events.append(("lost", part.index))
        self.flying.pop(part.index)
        self.errors.append(error)
        self.on_lost(part, error)


def line_of(number: int) -> bytes:
    if number % 100 == 7:
        return b'{"operation":"canary"}\n'
    return b"\n" if number % 100 == 8 else GOOD % number


GOOD_LINES = [line_of(number) for number in range(1, 20_001) if number % 100 not in (7, 8)]


GOOD_SET = set(GOOD_LINES)


def make_pool(source, workers=1, limit=100_000, **options) -> SenderPool:
    files = source if isinstance(source, list) else find_files(str(source))
    layout = Layout(max_part_bytes=limit, workers=workers)
    return SenderPool(
        files=files, rules=options.pop("rules", RULES), layout=layout, workers=workers, **options
    )


def target_of(sink: Sink, **options) -> Target:
    headers = {"Authorization": "canary-token", "Content-Type": "application/x-ndjson"}
    return Target(url=sink.url, headers=headers, **options)


def jobs_of(parts, **options):
    todo = [part for part in parts if part.lines]
    return lambda in_flight: Job(part=todo.pop(0), **options) if todo else None


def sent_lines(sink: Sink) -> list[bytes]:
    return sorted(line for taken in sink.taken for line in taken.body.splitlines(keepends=True))


def pack(source: Path, suffix: str) -> Path:
    pack = {".gz": gzip.compress, ".zst": zstandard.compress}[suffix]
    packed = source.with_name(source.name + suffix)
    packed.write_bytes(pack(source.read_bytes()))
    return packed
