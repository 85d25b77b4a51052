"""What was approved is what is sent: the dry run's fingerprint binds the import, whatever happens to the source in between."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException
from one_task import Killed, dies_at_outcome, importing, once, profile, write_profiles

from airflow_bulk.arguments import SendingOptions
from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.operators.document_import import ImportDocumentsOperator

KIND = "USER_IDENTIFIERS_DELETION"
GUARDS = {"document_type": KIND, "name": "gdpr", "allow_deletion": KIND, "max_deletions": 1_000}


def deletion(number: int) -> str:
    return json.dumps({"type": "USER_ACCOUNT", "user_account_id": f"crm-{number}"})


def sha256(line: str) -> str:
    return hashlib.sha256(line.encode()).hexdigest()[:12]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "requests.ndjson"
    path.write_text("\n".join(deletion(number) for number in range(100)) + "\n")
    return path


def checked(task: Any, source: Any, **more: Any) -> dict[str, Any]:
    result: dict[str, Any] = task(importing(source, **{**GUARDS, "dry_run": True, **more})).run()
    return result


def posts(emulator: Emulator) -> list[dict[str, Any]]:
    return [call for call in emulator.requests() if call["method"] == "POST"]


def test_what_was_approved_is_sent(emulator: Emulator, task: Any, source: Path) -> None:
    found = checked(task, source, sample="5")
    lines = source.read_text().splitlines()
    assert [one["number"] for one in found["sample"]] == [11, 31, 51, 71, 91]
    assert all(one["sha256"] == sha256(lines[one["number"] - 1]) for one in found["sample"])
    assert "crm-" not in json.dumps(found)
    assert posts(emulator) == []
    options = {**GUARDS, "expect_fingerprint": "{{ params.approved }}"}
    result = task(importing(source, **options)).run(approved=found["fingerprint"])
    assert result["lines_accepted"] == 100
    assert "fingerprint" not in result
    assert emulator.held() == once(lines)


def changed(source: Path, how: str) -> None:
    lines = source.read_text().splitlines()
    if how == "one more line":
        lines.append(deletion(100))
    elif how == "one line less":
        lines.pop()
    elif how == "another identifier":
        lines[50] = lines[50].replace("crm-50", "crm-05")
    elif how == "another order":
        lines.reverse()
    before = source.stat()
    source.write_text("\n".join(lines) + "\n")
    os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))  # content alone decides


@pytest.mark.parametrize("how", ["one more line", "one line less", "another identifier", "another order"])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_source_that_changed_after_the_approval(
    emulator: Emulator, task: Any, source: Path, how: str, workers: int
) -> None:
    sending = SendingOptions(workers=workers)
    found = checked(task, source, sending=sending)
    changed(source, how)
    one = task(importing(source, **GUARDS, sending=sending, expect_fingerprint=found["fingerprint"]))
    for _ in range(2):  # a retry, too
        with pytest.raises(
            AirflowFailException, match=r"not what was approved.*Nothing more was sent"
        ) as caught:
            one.run()
    assert found["fingerprint"] in str(caught.value)
    assert posts(emulator) == []
    assert emulator.imports() == []


def test_the_same_lines_under_another_time_are_the_same(emulator: Emulator, task: Any, source: Path) -> None:
    found = checked(task, source)
    os.utime(source, (1, 1))
    assert (
        task(importing(source, **GUARDS, expect_fingerprint=found["fingerprint"])).run()["lines_accepted"]
        == 100
    )


@pytest.mark.parametrize("value", ["", "None", None, "{{ params.nothing }}", "0" * 31, "g" * 32])
def test_an_approval_that_is_missing_is_none(emulator: Emulator, task: Any, source: Path, value: Any) -> None:
    """A template that finds nothing, also where templates render to values, must not lift the restriction."""
    make = importing(source, **GUARDS, expect_fingerprint="{{ params.nothing }}")

    def rendered() -> Any:
        operator = make()
        operator.render_template_fields = lambda context: setattr(operator, "expect_fingerprint", value)
        return operator

    with pytest.raises(AirflowFailException, match="expect_fingerprint must be the fingerprint"):
        task(rendered).run()
    assert posts(emulator) == []


@pytest.mark.parametrize("mapped", [None, "", "0" * 31])
def test_an_approval_that_is_missing_in_a_mapped_task_is_none(
    emulator: Emulator, task: Any, source: Path, mapped: str | None
) -> None:
    """A mapped task is constructed with its value, so it must tell a None that was given from no argument at all."""
    with DAG("d", schedule=None):
        operator = ImportDocumentsOperator.partial(task_id="t", source=str(source), **GUARDS).expand(
            expect_fingerprint=["0" * 32, mapped]
        )
    with pytest.raises(AirflowFailException, match="expect_fingerprint must be the fingerprint"):
        task(lambda: operator.unmap({"expect_fingerprint": mapped})).run()
    assert posts(emulator) == []


@pytest.mark.parametrize("where", ["argument", "default_args"])
def test_an_approval_that_is_none_in_python_is_none(
    emulator: Emulator, task: Any, source: Path, where: str
) -> None:
    given = {"expect_fingerprint": None}
    defaults, more = ({}, given) if where == "argument" else (given, {})

    def make() -> Any:
        with DAG("d", schedule=None, default_args=defaults):
            return ImportDocumentsOperator(task_id="t", source=str(source), **GUARDS, **more)

    with pytest.raises(AirflowFailException, match="expect_fingerprint must be the fingerprint"):
        task(make).run()
    assert posts(emulator) == []


@pytest.mark.parametrize("elsewhere", [{"datamart_id": "77"}, {"document_type": "USER_ACTIVITY"}])
def test_an_approval_is_of_one_datamart_and_one_type(
    emulator: Emulator, task: Any, tmp_path: Path, elsewhere: dict[str, Any]
) -> None:
    path = tmp_path / "profiles.ndjson"
    lines = write_profiles(path, 3)
    options = {"sending": SendingOptions(check=False, settle=0.2)}  # the lines are as good for any type
    found = task(importing(path, **options, dry_run=True)).run()["fingerprint"]
    other = {**options, **elsewhere, "expect_fingerprint": found}
    with pytest.raises(AirflowFailException, match="document type, MIME type and datamart must be the same"):
        task(importing(path, **other)).run()
    assert posts(emulator) == []
    assert task(importing(path, **options, expect_fingerprint=found)).run()["lines_accepted"] == 3
    assert emulator.held() == once(lines)


def test_parts_cannot_leave_before_all_are_known(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    path = tmp_path / "profiles.ndjson"
    write_profiles(path, 3)
    one = task(importing(path, expect_fingerprint="0" * 32, sending=SendingOptions(overlap=True)))
    with pytest.raises(AirflowFailException, match=r"sending\.overlap must be false with expect_fingerprint"):
        one.run()


def test_a_killed_import_goes_on_with_what_was_approved(
    emulator: Emulator, task: Any, tmp_path: Path
) -> None:
    path = tmp_path / "profiles.ndjson"
    lines = write_profiles(path, 1000)
    found = task(importing(path, dry_run=True)).run()
    one = task(importing(path, expect_fingerprint=found["fingerprint"]))
    one.store.set = dies_at_outcome(one.store, 1)
    with pytest.raises(Killed):
        one.run()
    assert one.run()["lines_accepted"] == 1000
    assert emulator.held() == once(lines)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("packed", [False, True])
def test_the_sample_is_of_the_lines_that_would_be_sent(
    emulator: Emulator, task: Any, tmp_path: Path, packed: bool, workers: int
) -> None:
    """Over files, parts, rejected and blank lines, and a last line without its end."""
    files = [tmp_path / f"{number}.ndjson{'.gz' if packed else ''}" for number in range(3)]
    good: list[str] = []
    for number, path in enumerate(files):
        some = [profile(number * 1000 + one) for one in range(300)]
        good += some
        some[10:10] = ["", "no object", '{"operation":"UPSERT"}']
        text = "\n".join(some).encode()
        path.write_bytes(gzip.compress(text) if packed else text)
    sending = SendingOptions(max_part_bytes=20_000, workers=workers)
    result = task(
        importing([str(path) for path in files], dry_run=True, max_failures="100%", sample=9, sending=sending)
    ).run()
    assert result["parts"] > 3
    assert [(one["number"], one["sha256"]) for one in result["sample"]] == [
        (number, sha256(good[number - 1])) for number in (51, 151, 251, 351, 451, 551, 651, 751, 851)
    ]


def test_the_sample_of_a_csv(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    path = tmp_path / "members.csv"
    rows = [f"crm-{number},1000,UPDATE,7,0" for number in range(50)]
    path.write_text(
        "\r\n".join(["user_account_id,compartment_id,operation,segment_id,expiration_duration", *rows])
    )
    result = task(importing(path, document_type="USER_SEGMENT", dry_run=True, sample=100)).run()
    assert [one["sha256"] for one in result["sample"]] == [sha256(row) for row in rows]


def test_a_sample_of_nothing(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    path = tmp_path / "none.ndjson"
    path.write_text("")
    result = task(importing(path, dry_run=True, on_empty="ok", sample=3)).run()
    assert (result["sample"], len(result["fingerprint"])) == ([], 32)
