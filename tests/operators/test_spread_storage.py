"""A spread import of objects in a store: each task reads its own bytes, and the beginning of a file for its header."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException
from one_task import once, profile
from spread_steps import Spread

from airflow_bulk.arguments import SendingOptions
from airflow_bulk.emulator.handle import Emulator
from s3_server import S3Server

HEADER = "operation,user_account_id,segment_id,expiration_duration\n"


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with S3Server() as running:
        yield running


@pytest.fixture
def s3(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    monkeypatch.setenv("AIRFLOW_CONN_AWS_CRM", server.connection_json())
    return server


def put(s3: S3Server, key: str, count: int) -> list[str]:
    lines = [profile(number) for number in range(count)]
    s3.put(key, "".join(f"{line}\n" for line in lines).encode())
    return lines


@pytest.mark.parametrize("spooled", [False, True])
@pytest.mark.parametrize("workers", [1, 2])
def test_each_task_reads_its_own_bytes(
    emulator: Emulator, s3: S3Server, tmp_path: Path, spooled: bool, workers: int
) -> None:
    key = f"own-{spooled}-{workers}.ndjson"
    lines = put(s3, key, 10_000)
    size = sum(len(line) + 1 for line in lines)
    sending = SendingOptions(
        max_part_bytes=100_000, settle=0.2, workers=workers, spool_dir=str(tmp_path) if spooled else None
    )
    spread = Spread(f"s3://aws_crm@crm/{key}", 4, sending=sending)
    s3.forget()
    spread.plan()
    # Some kB around each border, and the beginning of the file for each.
    assert s3.read[key] <= 3 * 2 * (64 << 10)
    spread.judge_check(spread.check())
    s3.forget()
    result = spread.send(2)
    share = size / 4
    assert result["bytes"] == pytest.approx(share, rel=0.01)
    # A second look at the lines of its own, unless they are spooled; and what tells a file's beginning.
    assert s3.read[key] <= (1 if spooled else 2) * share * 1.1 + 3 * (64 << 10)
    for index in (0, 1, 3):
        spread.send(index)
    assert emulator.held() == once(lines)
    assert spread.judge()["lines_accepted"] == 10_000
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("spooled", [False, True])
def test_each_group_of_a_csv_object_has_the_header(
    emulator: Emulator, s3: S3Server, tmp_path: Path, spooled: bool
) -> None:
    key = f"segment-{spooled}.csv"
    s3.put(key, (HEADER + "".join(f"UPDATE,crm-{n},880,0\n" for n in range(20_000))).encode())
    sending = SendingOptions(max_part_bytes=100_000, settle=0.2, spool_dir=str(tmp_path) if spooled else None)
    kind: dict[str, Any] = {"document_type": "USER_SEGMENT", "name": "segment", "sending": sending}
    result = Spread(f"s3://aws_crm@crm/{key}", 3, **kind).run()
    assert (result["lines_accepted"], len(result["imports"])) == (20_000, 3)
    assert emulator.held_totals()["more_than_once"] == 0


def test_an_object_that_was_replaced_is_named(emulator: Emulator, s3: S3Server) -> None:
    put(s3, "replaced.ndjson", 1_000)
    spread = Spread("s3://aws_crm@crm/replaced.ndjson", 2)
    spread.before()
    put(s3, "replaced.ndjson", 1_001)
    with pytest.raises(
        AirflowFailException, match=r"replaced\.ndjson: has changed since the source was spread"
    ):
        spread.send(1)
    assert emulator.imports() == []
