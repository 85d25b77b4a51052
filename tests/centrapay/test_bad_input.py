"""What a batch operator refuses, before anything is sent and naming the field, or takes with a warning."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from loading import accounts, loading, posts

from airflow_bulk.emulator.centrapay_handle import ACCOUNT, TEST_ACCOUNT


@pytest.mark.parametrize("given", [{}, {"file": "s3://x@b/k", "url": "https://example.test/x"}])
def test_neither_or_both_of_file_and_url(given: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="either file or url"):
        loading(**given)()


@pytest.mark.parametrize("field", ["file", "url"])
def test_a_template_that_renders_to_nothing(centrapay: Any, task: Any, field: str) -> None:
    with pytest.raises(AirflowFailException, match="neither is"):
        task(loading(**{field: "{{ params.nothing }}"})).run(nothing="")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"type": " "}, "type must be a text"),
        ({"url": "ftp://example.test/x"}, "url must begin with https://"),
        ({"url": "x.jsonl"}, "url must begin with https://"),
        ({"url_expires_in": 0}, "url_expires_in"),
        ({"url_expires_in": 8 * 86_400}, "at most seven days"),
        ({"max_failures": "some"}, "max_failures"),
        ({"max_failures": None}, "max_failures"),
        ({"test": "perhaps"}, "test must be true or false"),
        ({"on_clear": "again"}, "on_clear"),
        ({"timeout": "-1"}, "timeout"),
        ({"poll_interval": "often"}, "poll_interval"),
        ({"dry_run": True}, "cannot check a url"),
    ],
)
def test_arguments_that_cannot_be_used(centrapay: Any, task: Any, given: dict[str, Any], said: str) -> None:
    with pytest.raises(AirflowFailException, match=said):
        task(loading(**{"url": "https://example.test/x.jsonl", **given})).run()
    assert centrapay.emulator.requests() == []


def put(s3: Any, key: str, body: bytes) -> str:
    s3.put(key, body)
    return f"s3://aws_partner@crm/{key}"


@pytest.mark.parametrize(
    ("key", "body", "said"),
    [
        ("bad/a.jsonl.gz", gzip.compress(b"{}\n", mtime=0), "compressed"),
        ("bad/a.csv", b"{}\n", "its name ends in .csv"),
        ("bad/empty.jsonl", b"", "holds no record"),
        ("bad/blank.jsonl", b"\n\n", "holds no record"),
        ("bad/array.jsonl", b'[{"externalId":"a"}]\n', "JSON array"),
        ("bad/pretty.jsonl", b'{\n"externalId":"a"}\n', "goes on over several lines"),
    ],
)
def test_files_that_are_refused(centrapay: Any, s3: Any, task: Any, key: str, body: bytes, said: str) -> None:
    with pytest.raises(AirflowException, match=said):
        task(loading(file=put(s3, key, body))).run()
    assert posts(centrapay) == 0


def test_files_that_are_not_one(centrapay: Any, s3: Any, task: Any, tmp_path: Path) -> None:
    for name in ("one", "two"):
        put(s3, f"many/{name}.jsonl", accounts(1).encode())
    with pytest.raises(AirflowFailException, match="is 2 files, and a batch takes one"):
        task(loading(file="s3://aws_partner@crm/many/*.jsonl")).run()
    with pytest.raises(AirflowException, match="no such object"):
        task(loading(file="s3://aws_partner@crm/many/none.jsonl")).run()
    local = tmp_path / "accounts.jsonl"
    local.write_text(accounts(1))
    with pytest.raises(AirflowFailException, match="on this machine, where Centrapay cannot fetch it"):
        task(loading(file=str(local))).run()
    assert posts(centrapay) == 0


def test_a_store_that_signs_nothing(centrapay: Any, task: Any) -> None:
    from airflow.sdk import ObjectStoragePath
    from airflow.sdk.io import attach
    from fsspec.implementations.memory import MemoryFileSystem

    attach("memory", fs=MemoryFileSystem())
    ObjectStoragePath("memory://partner/accounts.jsonl").write_text(accounts(1))
    with pytest.raises(AirflowFailException, match="makes no signed URLs: give a url"):
        task(loading(file="memory://partner/accounts.jsonl")).run()
    assert posts(centrapay) == 0


def test_an_unknown_type_passes_with_a_warning(
    centrapay: Any, s3: Any, task: Any, caplog: pytest.LogCaptureFixture
) -> None:
    file = put(s3, "unknown.bin", b'{"anything":1}\nnot checked\n')
    with pytest.raises(AirflowFailException, match=r"400 \(type is invalid\)"):
        task(loading(type="verifone-terminal-status", file=file)).run()
    assert "is no batch type that this package knows" in caplog.text
    centrapay.settings(other_types=["verifone-terminal-status"])
    result = task(loading(type="verifone-terminal-status", file=file, max_failures=1)).run()
    assert (result["count"], result["lines_failed"], result["lines_read"]) == (2, 1, None)


@pytest.mark.parametrize(("account", "test"), [(ACCOUNT, True), (TEST_ACCOUNT, None)])
def test_the_test_flag_against_the_account(
    centrapay: Any, files: Any, task: Any, account: str, test: bool | None
) -> None:
    one = task(loading(url=files.put("/a.jsonl", accounts(1)), account_id=account, test=test))
    with pytest.raises(AirflowFailException, match=r"LIVENESS_MISMATCH.*A retry cannot help"):
        one.run()
    assert centrapay.batches() == []
