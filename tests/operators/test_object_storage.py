"""Files in object storage: credentials by connection, bytes read counted, a change between tries noticed."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from one_task import importing, once, profile

from airflow_bulk.arguments import SendingOptions
from airflow_bulk.emulator.handle import Emulator
from s3_server import S3Server


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with S3Server() as running:
        yield running


@pytest.fixture
def s3(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    monkeypatch.setenv("AIRFLOW_CONN_AWS_CRM", server.connection_json())
    return server


def put_three(
    s3: S3Server, folder: str, suffix: str = ".ndjson.gz", count: int = 400
) -> tuple[list[str], dict[str, int]]:
    """Three objects; their good lines and their sizes."""
    lines, sizes = [], {}
    for number in range(3):
        some = [profile(number * 10_000 + n) for n in range(count)]
        lines += some
        body = "".join(f"{line}\n" for line in some).encode()
        body = gzip.compress(body) if suffix.endswith(".gz") else body
        key = f"{folder}/{number}{suffix}"
        s3.put(key, body)
        sizes[key] = len(body)
    return lines, sizes


def storing(folder: str, **more: Any) -> Any:
    return importing(
        f"s3://aws_crm@crm/{folder}/*.ndjson*",
        rejects_path=f"s3://aws_crm@crm/rejects/{folder}/",
        max_failures="1%",
        **more,
    )


@pytest.mark.parametrize("spool", [False, True])
def test_three_gz_objects(emulator: Emulator, task: Any, s3: S3Server, tmp_path: Path, spool: bool) -> None:
    folder = f"three-{spool}"
    lines, sizes = put_three(s3, folder)
    s3.put(f"{folder}/3.ndjson.gz", gzip.compress(b"no line\n"))
    sending = SendingOptions(max_part_bytes=40_000, spool_dir=str(tmp_path) if spool else None)
    s3.forget()
    result = task(storing(folder, sending=sending)).run()
    assert emulator.held(result["import_id"]) == once(lines)
    assert (result["lines_rejected"], result["parts"] > 1) == (1, True)
    reads = 1 if spool else 2
    for key, size in sizes.items():
        assert size <= s3.read[key] <= size * reads
    assert list(tmp_path.iterdir()) == []
    rejects = result["rejects_uri"].removeprefix("s3://").partition("crm/")[2]
    (row,) = [json.loads(row) for row in s3.body(rejects).splitlines()]
    assert (row["line"], row["source"].endswith(f"{folder}/3.ndjson.gz")) == (1, True)


def test_plain_objects_take_a_ranged_get_a_part(emulator: Emulator, task: Any, s3: S3Server) -> None:
    lines, sizes = put_three(s3, "plain", ".ndjson", 4000)
    s3.forget()
    sending = SendingOptions(max_part_bytes=100_000)
    result = task(storing("plain", sending=sending)).run()
    assert emulator.held(result["import_id"]) == once(lines)
    # Two passes; a part that spans two objects takes one GET of each.
    gets = [one for key in sizes for one in s3.gets[key]]
    assert all(one.startswith("bytes=") for one in gets)
    assert len(gets) <= 2 * (result["parts"] + 2 * len(sizes))
    assert sum(s3.read.values()) <= 2.1 * sum(sizes.values())


def test_retry_and_object_that_changed_between_tries(emulator: Emulator, task: Any, s3: S3Server) -> None:
    lines, sizes = put_three(s3, "retry")
    emulator.fault("unauthorized", path=r"/executions$", method="POST", skip=1, times=1)
    sending = SendingOptions(max_part_bytes=40_000)
    one = task(storing("retry", sending=sending))
    with pytest.raises(AirflowException, match="401"):
        one.run()
    last = f"retry/{len(sizes) - 1}.ndjson.gz"
    before = s3.body(last)
    s3.put(last, gzip.compress(b"changed"))
    with pytest.raises(AirflowFailException, match=r"2\.ndjson\.gz changed"):
        one.run()
    s3.put(last, before)
    result = one.run()
    assert emulator.held(result["import_id"]) == once(lines)
    assert result["rejects_uri"] is None


# Reported elsewhere as aws/aws-cli#5452 and peak/s5cmd#279.
@pytest.mark.parametrize(
    ("key", "other"),
    [
        ("odd/[1].ndjson", "odd/1.ndjson"),
        ("odd/y [1] (copy).ndjson", "odd/y 1 (copy).ndjson"),
        ("odd/a?1.ndjson", "odd/ax1.ndjson"),
        ("odd/a#1?.ndjson", "odd/a#12.ndjson"),
        ("odd/*.ndjson", "odd/z.ndjson"),
        ("odd/**", "odd/deep/z.ndjson"),
        ("odd/what?", "odd/what"),
        ("odd/what#", "odd/what"),
        ("odd/a?n=1", "odd/a"),
    ],
)
def test_an_object_of_exactly_that_key_wins_over_the_pattern(
    emulator: Emulator, task: Any, s3: S3Server, key: str, other: str
) -> None:
    s3.put(key, f"{profile(1)}\n".encode())
    s3.put(other, f"{profile(2)}\n".encode())
    result = task(importing(f"s3://aws_crm@crm/{key}")).run()
    assert emulator.held(result["import_id"]) == once([profile(1)])


@pytest.mark.parametrize("by", ["pattern", "names"])
def test_each_key_is_an_object_of_its_own_whatever_signs_it_holds(
    emulator: Emulator, task: Any, s3: S3Server, tmp_path: Path, by: str
) -> None:
    keys = ["[1].ndjson", "a?1", "a?2", "b?n=1", "b?n=2", "c#1", "c?", "c#", "c", "d?n=1.ndjson.gz"]
    for number, key in enumerate(keys):
        body = f"{profile(number)}\n".encode()
        s3.put(f"signs/{key}", gzip.compress(body) if key.endswith(".gz") else body)
    s3.put("signs/z", b"no line\n")
    names = ["*"] if by == "pattern" else [*keys, "z"]
    source = [f"s3://aws_crm@crm/signs/{name}" for name in names]
    one = task(importing(source, max_failures=1, rejects_path=str(tmp_path)))
    result = one.run()
    assert emulator.held(result["import_id"]) == once([profile(number) for number in range(len(keys))])
    (row,) = [json.loads(row) for row in Path(result["rejects_uri"]).read_text().splitlines()]
    assert (row["source"], row["line"]) == ("s3://aws_crm@crm/signs/z", 1)


def test_a_pattern_that_is_a_folder_s_name_is_about_what_it_matches(
    emulator: Emulator, task: Any, s3: S3Server
) -> None:
    s3.put("folder[1]/a.ndjson", profile(1).encode())
    s3.put("folder1", profile(2).encode())
    result = task(importing("s3://aws_crm@crm/folder[1]")).run()
    assert emulator.held(result["import_id"]) == once([profile(2)])


def test_nothing_there(emulator: Emulator, task: Any, s3: S3Server) -> None:
    with pytest.raises(AirflowException, match=r"nothing-here"):
        task(storing("nothing-here")).run()
    missing = "s3://aws_crm@crm/absent.ndjson"
    with pytest.raises(AirflowException, match=r"absent\.ndjson"):
        task(importing(missing)).run()
    assert emulator.imports() == []
