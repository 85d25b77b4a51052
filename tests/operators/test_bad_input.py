"""The table of bad input: the verdict of each, through the operator, with the platform as witness."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from one_task import importing, once, profile, write_profiles

from airflow_bulk.arguments import ArgumentError, SendingOptions
from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.operators.document_import import ImportDocumentsOperator

GOOD = profile(1)
HEADER = "operation,user_account_id,segment_id,expiration_duration"


def refused(emulator: Emulator, one: Any, match: str) -> str:
    with pytest.raises(AirflowException, match=match) as raised:
        one.run()
    assert emulator.imports() == []
    assert not [call for call in emulator.requests() if call["method"] == "POST"]
    return str(raised.value)


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        (
            "missing.ndjson",
            None,
            r"no such file\. This worker has no such file; sources must be where every worker reads them\. Nothing was",
        ),
        ("folder.ndjson/", b"", r"directory"),
        ("cut.ndjson.gz", gzip.compress(GOOD.encode() * 1000)[:-20], r"cut\.ndjson\.gz.*(truncated|ends)"),
        ("plain.ndjson.gz", GOOD.encode(), r"not gzip"),
        ("array.ndjson", f"[{GOOD}]".encode(), r"array\.ndjson.*jq -c"),
        ("pretty.ndjson", json.dumps(json.loads(GOOD), indent=2).encode(), r"pretty\.ndjson.*jq -c"),
        ("profiles.csv", GOOD.encode(), r"profiles\.csv.*check_extension"),
    ],
    ids=lambda value: value if isinstance(value, str) and "." in value and "\\" not in value else "",
)
def test_refused_files(
    emulator: Emulator, task: Any, tmp_path: Path, name: str, content: bytes | None, match: str
) -> None:
    path = tmp_path / name
    if name.endswith("/"):
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    message = refused(emulator, task(importing(path)), match)
    assert "othing was sent" in message


@contextlib.contextmanager
def as_anybody() -> Iterator[None]:
    """Root may read everything; whoever else runs the tests may not read a file of mode 0."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_unreadable_file(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    refused(
        emulator, task(importing(tmp_path / "none.ndjson")), "no such file"
    )  # loads what only root may load
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = Path(folder, "profiles.ndjson")
        path.write_text(GOOD)
        path.chmod(0)
        with as_anybody():
            message = refused(
                emulator, task(importing(path)), r"profiles\.ndjson: cannot be read \(Permission denied\)"
            )
    assert "othing was sent" in message


def test_name_that_no_system_call_takes(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    message = refused(emulator, task(importing(tmp_path / ("x" * 300 + ".ndjson"))), "x{50}")
    assert "othing was sent" in message


@pytest.mark.parametrize(
    ("header", "match"),
    [
        ("UPDATE,crm-1,880,0", r"header"),
        (f"{HEADER},segment_id", r"segment_id"),
        (f"{HEADER},favourite_colour", r"column"),
        ("", r"header|no line|empty"),
    ],
    ids=["missing", "doubled", "unknown", "empty"],
)
def test_csv_header(emulator: Emulator, task: Any, tmp_path: Path, header: str, match: str) -> None:
    path = tmp_path / "segments.csv"
    path.write_text(f"{header}\nUPDATE,crm-1,880,0\n")
    refused(emulator, task(importing(path, document_type="USER_SEGMENT")), match)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"document_type": "USER_THING"}, "document_type"),
        ({"mime_type": "TEXT_CSV"}, "mime_type"),
        ({"mime_type": "APPLICATION_JSON"}, "mime_type"),
        ({"name": "  "}, "name"),
        ({"sending": SendingOptions(max_part_bytes=999)}, "max_part_bytes"),
        ({"sending": SendingOptions(max_part_bytes="{{ 'many' }}")}, "max_part_bytes"),
        ({"sending": SendingOptions(csv_delimiter="||")}, "csv_delimiter"),
        ({"max_failures": None}, "max_failures"),
        ({"max_failures": "{{ '101%' }}"}, "max_failures"),
        ({"encoding": "latin-1"}, "encoding"),
        ({"priority": "URGENT"}, "priority"),
        ({"shuffle_lines": "{{ 'perhaps' }}"}, "shuffle_lines"),
        ({"on_empty": "shrug"}, "on_empty"),
        ({"datamart_id": "{{ 'my-datamart' }}"}, "datamart_id"),
        ({"timeout": 0}, "timeout"),
        ({"document_type": "USER_POINTS_DELETION"}, "allow_deletion"),
        ({"document_type": "USER_POINTS_DELETION", "allow_deletion": "yes"}, "allow_deletion"),
        (
            {"document_type": "USER_POINTS_DELETION", "allow_deletion": "USER_POINTS_DELETION"},
            "max_deletions",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_refused_arguments(
    emulator: Emulator, task: Any, tmp_path: Path, arguments: dict[str, Any], field: str
) -> None:
    path = tmp_path / "profiles.ndjson"
    path.write_text(f"{GOOD}\n")
    refused(emulator, task(importing(path, **arguments)), field)


def test_deletion_guards_are_no_templates() -> None:
    with pytest.raises(ArgumentError, match="allow_deletion must not be a template"):
        importing(Path("x"), allow_deletion="{{ params.type }}")()
    assert not {"allow_deletion", "max_deletions"} & set(ImportDocumentsOperator.template_fields)


def test_deletions_are_counted_first(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    path = tmp_path / "points.ndjson"
    lines = [f'{{"type":"USER_ACCOUNT","user_account_id":"{n}"}}' for n in range(5)]
    path.write_text("\n".join([*lines, "secret-and-bad"]))
    kind = "USER_POINTS_DELETION"
    guards = {
        "document_type": kind,
        "allow_deletion": kind,
        "max_failures": 1,
        "rejects_path": str(tmp_path / "rejects"),
    }
    refused(
        emulator, task(importing(path, max_deletions=4, **guards)), "5 deletions, more than max_deletions=4"
    )
    result = task(importing(path, max_deletions=5, **guards)).run()
    assert emulator.held(result["import_id"]) == once(lines)
    assert "secret-and-bad" not in Path(result["rejects_uri"]).read_text()


DELETION = '{"type":"USER_ACCOUNT","compartment_id":"4100","user_account_id":"crm-1"}'


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (f"\n[\n{DELETION}\n]\n", r"line 2 begins a JSON array"),
        (f"\ufeff\r\n \r\n[\r\n{DELETION},\r\n{DELETION}\r\n]", r"line 3 begins a JSON array"),
        ("\n" * 70_000 + '{"a":\n' + DELETION + "\n}\n", r"line 70001 begins a JSON document"),
        (f"\n{DELETION},\n{DELETION}\n", r"a comma stands behind the command in line 2,"),
    ],
    ids=["array", "BOM, CRLF", "document", "commas"],
)
@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("workers", [1, 2])
def test_no_deletion_of_a_document_over_several_lines_is_sent(
    emulator: Emulator, task: Any, tmp_path: Path, content: str, match: str, suffix: str, workers: int
) -> None:
    """However many failures are allowed, and wherever among the files it stands."""
    (tmp_path / "1.ndjson").write_text(DELETION)
    data = content.encode()
    (tmp_path / f"2.ndjson{suffix}").write_bytes(gzip.compress(data) if suffix else data)
    kind = "USER_IDENTIFIERS_DELETION"
    guards = {"document_type": kind, "allow_deletion": kind, "max_deletions": 9, "max_failures": "100%"}
    sending = SendingOptions(max_part_bytes=20_000, workers=workers)
    message = refused(emulator, task(importing(tmp_path / "*", sending=sending, **guards)), match)
    assert f"2.ndjson{suffix}: " in message and "Nothing was sent" in message and "crm-1" not in message


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("workers", [1, 2])
def test_lines_behind_many_blank_ones_keep_their_numbers(
    emulator: Emulator, task: Any, tmp_path: Path, suffix: str, workers: int
) -> None:
    """More blank lines than one look takes, and than one part: every process finds the same beginning."""
    lines = [profile(n) for n in range(1, 400)]
    data = ("\ufeff" + "\r\n" * 70_000 + "\n".join([GOOD[:-1], *lines[1:], "{}"])).encode()
    path = tmp_path / f"profiles.ndjson{suffix}"
    path.write_bytes(gzip.compress(data) if suffix else data)
    sending = SendingOptions(max_part_bytes=20_000, workers=workers, settle=0.2)
    result = task(
        importing(path, sending=sending, max_failures=2, rejects_path=str(tmp_path / "rejects"))
    ).run()
    assert emulator.held() == once(lines[1:])
    assert (result["blank_lines"], result["lines_rejected"]) == (70_000, 2)
    rows = [json.loads(row) for row in Path(result["rejects_uri"]).read_text().splitlines()]
    assert [row["line"] for row in rows] == [70_001, 70_400]


@pytest.mark.parametrize(
    ("content", "held", "blank"),
    [
        (f"{GOOD}\r\n{profile(2)}\r\n", 2, 0),
        (GOOD, 1, 0),
        (f"\ufeff{GOOD}\n", 1, 0),
        (f"\n{GOOD}\n  \n\r\n{profile(2)}\n\n", 2, 4),
    ],
    ids=["crlf", "no final newline", "bom", "blank lines"],
)
def test_accepted(emulator: Emulator, task: Any, tmp_path: Path, content: str, held: int, blank: int) -> None:
    path = tmp_path / "profiles.ndjson"
    path.write_bytes(content.encode())
    result = task(importing(path)).run()
    assert (result["lines_accepted"], result["lines_read"], result["blank_lines"]) == (held, held, blank)
    assert {line.strip(): n for line, n in emulator.held().items()} == {
        profile(n): 1 for n in range(1, held + 1)
    }


@pytest.mark.parametrize(
    "bad",
    [
        b'{"operation":"UPSERT","user_account_id":"\xff","user_profile":{}}',
        GOOD.replace("crm-1", "crm\x00").encode(),
        profile(9, padding="x" * 20_000).encode(),
        profile(9, email_hash="5b0f").encode(),
        b'{"operation":"UPSERT","user_account_id":"1"}',
        GOOD.encode() + GOOD.encode(),
        b"NaN",
    ],
    ids=["utf-8", "NUL", "too long", "two identifiers", "no profile", "two objects", "no object"],
)
def test_rejected_line_the_rest_goes(emulator: Emulator, task: Any, tmp_path: Path, bad: bytes) -> None:
    path = tmp_path / "profiles.ndjson"
    path.write_bytes(b"\n".join([GOOD.encode(), bad, profile(2).encode(), b""]))
    result = task(importing(path, max_failures=1, rejects_path=str(tmp_path / "rejects"))).run()
    assert (result["lines_rejected"], result["lines_accepted"]) == (1, 2)
    assert emulator.held() == once([GOOD, profile(2)])
    (row,) = [json.loads(row) for row in Path(result["rejects_uri"]).read_text().splitlines()]
    assert row["line"] == 2


@pytest.mark.parametrize("row", ["UPDATE,crm-2,880", "UPDATE,crm-2,880,0,more"], ids=["too few", "too many"])
def test_rejected_row(emulator: Emulator, task: Any, tmp_path: Path, row: str) -> None:
    path = tmp_path / "segments.csv"
    path.write_text(f"{HEADER}\nUPDATE,crm-1,880,0\n{row}\n")
    result = task(importing(path, document_type="USER_SEGMENT", max_failures=1)).run()
    assert (result["lines_read"], result["lines_rejected"], result["lines_accepted"]) == (2, 1, 1)
    (made,) = emulator.imports()
    assert made["mime_type"] == "TEXT_CSV"


@pytest.mark.parametrize("how", ["rate_limited", "server_error"])
def test_past_the_retries_the_record_is_kept(emulator: Emulator, task: Any, tmp_path: Path, how: str) -> None:
    path = tmp_path / "profiles.ndjson"
    lines = [profile(n) for n in range(500)]
    path.write_text("\n".join(lines))
    params = {"retry_after": 0} if how == "rate_limited" else {"when": "before"}
    emulator.fault(how, path=r"/executions$", method="POST", skip=1, **params)
    one = task(importing(path, sending=SendingOptions(max_part_bytes=20_000, settle=0)))
    with pytest.raises(AirflowException, match=r"part 2.*(429|503)"):
        one.run()
    emulator.clear_faults()
    assert one.run()["lines_accepted"] == 500
    assert emulator.held() == once(lines)


def test_import_that_is_gone(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    path = tmp_path / "profiles.ndjson"
    path.write_text(GOOD)
    emulator.settings(start_delay=1000)
    one = task(importing(path, cancel_on_kill=False))
    with pytest.raises(AirflowException, match="Still running"):
        one.run_past_deadline()
    emulator.settings(start_delay=0, strict=False)
    import airflow_bulk.hooks.mediarithmics as hooks

    hooks.MediarithmicsHook().delete_document_import(one.pushed["import_id"])
    calls = len(emulator.requests())
    with pytest.raises(AirflowException, match=r"404.*A retry cannot help"):
        one.run()
    assert not [call for call in emulator.requests()[calls:] if call["method"] == "POST"]


def posts(emulator: Emulator) -> int:
    return sum(call["method"] == "POST" for call in emulator.requests())


@pytest.mark.parametrize(
    ("faults", "match"),
    [
        ([{"by": -1}], r"1 line missing\. part 1 \(execution \d+\): (\d+) lines sent, (?!\1)\d+ counted"),
        ([{"by": 3}], r"3 lines too many\. part 1 "),
        (
            [{"by": -1}, {"by": 1, "skip": 1}],
            r"parts are counted wrong, though the totals agree\. part 1 .*; part 2 \(execution \d+\): \d+ lines",
        ),
    ],
    ids=["missing", "too many", "only the parts"],
)
def test_sum_that_does_not_close(
    emulator: Emulator, task: Any, tmp_path: Path, faults: list[dict[str, int]], match: str
) -> None:
    path = tmp_path / "profiles.ndjson"
    lines = write_profiles(path, 500)
    for fault in faults:
        emulator.fault("miscount", times=1, **fault)
    one = task(importing(path, max_failures="100%"))
    with pytest.raises(AirflowFailException, match=f"The sum does not close: {match}") as first:
        one.run()
    off = sum(fault["by"] for fault in faults)
    assert f"500 lines read = 0 rejected + {500 + off} accepted + 0 failed." in str(first.value)
    before = posts(emulator)
    with pytest.raises(AirflowFailException, match=f"The sum does not close: {match}.*Recorded by try 1"):
        one.run()
    assert posts(emulator) == before
    assert emulator.held() == once(lines)


def test_a_store_whose_provider_is_not_installed(emulator: Emulator, task: Any) -> None:
    refused(
        emulator,
        task(importing("gs://bucket/profiles.ndjson")),
        r"gs:// is not understood here .*\[gcs\].*a retry cannot help before that",
    )


def test_a_folder_of_rejects_that_cannot_be(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    source = tmp_path / "profiles.ndjson"
    write_profiles(source, 20, bad=(3,))
    taken = tmp_path / "taken"
    taken.write_text("")
    one = task(importing(source, rejects_path=str(taken), max_failures=1))
    refused(emulator, one, r"rejects_path .*taken: no file can be written there .*A retry tries again")


def test_a_pattern_that_finds_nothing_says_one_thing(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    one = task(importing(tmp_path / "*.ndjson"))
    with pytest.raises(AirflowFailException) as caught:
        one.run()
    assert str(caught.value).count("Nothing was sent") == 1
    assert "retry looks again" not in str(caught.value)


def test_a_good_import_tells_where_its_bad_lines_are(
    emulator: Emulator, task: Any, tmp_path: Path, caplog: Any
) -> None:
    source = tmp_path / "profiles.ndjson"
    write_profiles(source, 20, bad=(3,))
    result = task(importing(source, rejects_path=str(tmp_path / "rejects"), max_failures=1)).run()
    assert f"Rejected lines (1) are in {result['rejects_uri']}" in caplog.text


def test_a_folder_of_rejects_in_the_home_of_the_worker_s_user(
    emulator: Emulator, task: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    write_profiles(tmp_path / "profiles.ndjson", 20, bad=(3,))
    result = task(importing("~/profiles.ndjson", rejects_path="~/rejects", max_failures=1)).run()
    assert Path(result["rejects_uri"]).parent == tmp_path / "rejects"
    assert not (tmp_path / "~").exists()
