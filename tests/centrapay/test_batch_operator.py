"""The operator over real HTTP: a file in an object store, fetched by the platform, judged; in the store and beside it."""

from __future__ import annotations

import json
import logging
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from loading import account, accounts, loading, loads, posts

from airflow_bulk.emulator.centrapay_handle import ACCOUNT, TEST_ACCOUNT

FILE = "s3://aws_partner@crm/accounts.jsonl"


def test_a_file_of_an_object_store(centrapay: Any, s3: Any, task: Any, said: list[str]) -> None:
    s3.put("accounts.jsonl", accounts(200).encode())
    one = task(loading(file=FILE, account_id=ACCOUNT))
    result = one.run()
    assert {k: v for k, v in result.items() if k not in ("batch_id", "seconds")} == {
        "status": "complete",
        "type": "farmlands-external-asset",
        "count": 200,
        "lines_read": 200,
        "lines_accepted": 200,
        "lines_failed": 0,
        "lines_breaking_rules": 0,
        "rejects_uri": None,
        "errors_uri": None,
    }
    work = f"a Centrapay batch of account {ACCOUNT}"
    assert one.pushed == {"batch_id": result["batch_id"], "airflow_bulk_work": work}
    (batch,) = centrapay.batches()
    assert batch["url"].startswith(f"{s3.url}/crm/accounts.jsonl?") and "Signature" in batch["url"]
    assert len(centrapay.assets()) == 200 and loads(centrapay) == {1}
    query = batch["url"].partition("?")[2]
    for told in ("".join(said), str(one.store.values), str(result)):
        assert query not in told and "Signature=" not in told
    assert any(f"will fetch {s3.url}/crm/accounts.jsonl, until" in line for line in said)


def test_the_signed_url_lives_as_long_as_asked(centrapay: Any, s3: Any, task: Any) -> None:
    from airflow_bulk.platforms.centrapay import expiry

    s3.put("accounts.jsonl", accounts(1).encode())
    task(loading(file=FILE, url_expires_in="1800")).run()
    left = (expiry(centrapay.batches()[0]["url"]) or 0) - time.time()
    assert 1500 < left <= 1801


def test_templates_are_coerced(centrapay: Any, s3: Any, task: Any) -> None:
    s3.put("accounts.jsonl", accounts(2).encode())
    text = {
        "type": "{{ params.type }}",
        "file": "s3://aws_partner@crm/{{ params.name }}.jsonl",
        "test": "{{ params.test }}",
        "account_id": "{{ params.account }}",
        "poll_interval": "0.1",
        "timeout": "60",
        "check": "true",
        "max_failures": "0",
    }
    result = task(loading(**text)).run(
        type="farmlands-external-asset", name="accounts", test=True, account=TEST_ACCOUNT
    )
    assert result["lines_accepted"] == 2
    assert centrapay.batches()[0]["test"] is True


# -- A URL -----------------------------------------------------------------------------------------------------


def test_a_url_is_rendered_late_and_shown_nowhere(
    centrapay: Any, files: Any, task: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    files.put("/a.jsonl", accounts(3))
    one = task(loading(url="{{ params.base }}/a.jsonl?sig=canary-signature-0001"))
    result = one.run(base=files.url)
    assert (result["count"], result["lines_read"]) == (3, None)
    assert files.fetched == {"/a.jsonl?sig=canary-signature-0001": 1}
    assert "url" not in one.operator.template_fields
    assert "canary" not in caplog.text + str(one.store.values) + str(result)
    assert one.operator.url == "{{ params.base }}/a.jsonl?sig=canary-signature-0001"


def test_a_url_is_masked_before_any_log_line(centrapay: Any, files: Any, task: Any) -> None:
    from airflow.sdk._shared.secrets_masker import redact

    task(loading(url=files.put("/a.jsonl", accounts(1)) + "?sig=canary-signature-0002")).run()
    assert redact("GET /a.jsonl?sig=canary-signature-0002") == "GET /a.jsonl?***"
    assert redact("it was canary-signature-0002") == "it was ***"


def test_the_serialized_dag_does_not_hold_the_url(centrapay: Any) -> None:
    from airflow.sdk import DAG
    from airflow.serialization.serialized_objects import LazyDeserializedDAG

    with DAG("secret_url", schedule=None) as dag:
        loading(url="https://bucket.example.test/x?sig=canary-signature-0003")()
    assert "canary" not in json.dumps(LazyDeserializedDAG.from_dag(dag).data, default=str)


def test_an_expired_url_is_refused_by_its_date(centrapay: Any, task: Any) -> None:
    url = "https://bucket.example.test/x.jsonl?Signature=canary-signature-0004&Expires=1600000000"
    with pytest.raises(AirflowFailException, match=r"stopped working at 2020-09-13 12:26:40 UTC") as caught:
        task(loading(url=url)).run()
    assert "canary" not in str(caught.value)
    assert posts(centrapay) == 0


def test_an_expired_url_does_not_matter_to_a_batch_that_stands(centrapay: Any, files: Any, task: Any) -> None:
    centrapay.settings(step_seconds=100_000)
    base, until = files.put("/a.jsonl", accounts(1)), {"Expires": 4_000_000_000}
    one = task(lambda: loading(url=f"{base}?Expires={until['Expires']}", timeout=0.2)())
    with pytest.raises(AirflowException, match="was not over"):
        one.run()
    until["Expires"] = 1_600_000_000
    centrapay.settings(step_seconds=0)
    assert one.run()["lines_accepted"] == 1
    assert posts(centrapay) == 1


# -- Records that break a rule ---------------------------------------------------------------------------------


def test_too_many_broken_records_and_nothing_is_created(
    centrapay: Any, s3: Any, task: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    s3.put("accounts.jsonl", accounts(100, bad=(3, 77)).encode())
    one = task(loading(file=FILE, max_failures=1, errors_path=str(tmp_path)))
    with pytest.raises(AirflowFailException, match=r"2 of 100 lines \(2%\) break a rule.*Nothing was sent"):
        one.run()
    assert posts(centrapay) == 0
    (file,) = tmp_path.glob("*.rejects.ndjson")
    rows = [json.loads(row) for row in file.read_text().splitlines()]
    assert [row["line"] for row in rows] == [3, 77]
    assert "barcode has to be a string of 9 digits" in rows[0]["reasons"][0]
    assert not any("raw" in row for row in rows)
    assert "line 3, rejected" in caplog.text


def test_a_few_broken_records_stay_in_the_file(
    centrapay: Any, s3: Any, task: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Centrapay fetches the file as it lies there, so it judges them, too."""
    s3.put("accounts.jsonl", accounts(1000, bad=(3, 77)).encode())
    result = task(loading(file=FILE, max_failures="0.5%", errors_path=str(tmp_path))).run()
    assert (result["lines_read"], result["lines_breaking_rules"]) == (1000, 2)
    assert (result["count"], result["lines_accepted"], result["lines_failed"]) == (1000, 998, 2)
    rows = [json.loads(row) for row in Path(result["errors_uri"]).read_text().splitlines()]
    lines = accounts(1000, bad=(3, 77)).splitlines(keepends=True)
    (version,) = {row["version"] for row in rows}
    assert rows == [
        {
            "schema": 1,
            "state": "failed",
            "where": "platform",
            "source": FILE,
            "line": n,
            "lines": 1,
            "part": 0,
            "execution": result["batch_id"],
            "reasons": ["INVALID_BARCODE_LENGTH"],
            "offset": len("".join(lines[: n - 1]).encode()),
            "bytes": len(lines[n - 1].encode()),
            "version": version,
            "columns": {"index": str(n - 1), "external_id": f"acc-{n}"},
        }
        for n in (3, 77)
    ]
    assert Path(result["errors_uri"]).stat().st_mode & 0o777 == 0o600
    assert "index 2, externalId acc-3: INVALID_BARCODE_LENGTH" in caplog.text


def test_errors_go_to_a_store_and_are_capped_in_the_log(
    centrapay: Any, s3: Any, task: Any, caplog: pytest.LogCaptureFixture
) -> None:
    s3.put("accounts.jsonl", accounts(60, bad=tuple(range(1, 51))).encode())
    folder = "s3://aws_partner@crm/errors/{{ run_id }}/"
    one = task(loading(file=FILE, max_failures="100%", errors_path=folder))
    result = one.run()
    assert result["errors_uri"].startswith(f"s3://aws_partner@crm/errors/{one.run_id}/")
    rows = s3.body(result["errors_uri"].partition("crm/")[2]).splitlines()
    assert len(rows) == 50
    assert caplog.text.count("Error of batch") == 10
    assert "has 50 errors in all" in caplog.text


def test_a_folder_that_takes_no_file_any_more(centrapay: Any, s3: Any, task: Any, tmp_path: Path) -> None:
    s3.put("accounts.jsonl", accounts(100, bad=(3,)).encode())
    folder = tmp_path / "errors"
    one = task(loading(file=FILE, max_failures="5%", errors_path=str(folder), timeout=0.2))
    centrapay.settings(step_seconds=100_000)
    with pytest.raises(AirflowException, match="was not over"):
        one.run()
    shutil.rmtree(folder)
    folder.write_text("a file is in the way")
    centrapay.settings(step_seconds=0)
    with pytest.raises(
        AirflowException, match=r"The batch \S+ is over, .* once this is mended, a retry writes"
    ):
        one.run()
    folder.unlink()
    result = one.run()
    assert Path(result["errors_uri"]).parent == folder
    assert (result["lines_failed"], posts(centrapay)) == (1, 1)


def test_what_removes_is_warned_about(
    centrapay: Any, s3: Any, task: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    lines = [
        account(1, contacts=[]),
        account(2, contacts=[]),
        json.dumps({"externalId": "acc-3"}),
        account(4),
    ]
    s3.put("accounts.jsonl", "\n".join(lines).encode())
    task(loading(file=FILE)).run()
    assert "Hint, 2 times: contacts is an empty array" in caplog.text
    assert "Hint, 1 time: availableBalance is left out" in caplog.text


def test_a_dry_run_creates_nothing(centrapay: Any, s3: Any, task: Any, tmp_path: Path) -> None:
    s3.put("accounts.jsonl", accounts(10, bad=(4,)).encode())
    one = task(loading(file=FILE, dry_run=True, max_failures=1))
    result = one.run()
    assert (result["batch_id"], result["lines_read"], result["lines_breaking_rules"]) == (None, 10, 1)
    assert one.store.values == {}
    local = tmp_path / "accounts.jsonl"
    local.write_text(accounts(5))
    assert task(loading(file=str(local), dry_run=True)).run()["lines_read"] == 5
    assert centrapay.emulator.requests() == []


def test_unchecked_records_are_left_to_centrapay(centrapay: Any, s3: Any, task: Any) -> None:
    s3.put("accounts.jsonl", accounts(10, bad=(4,)).encode())
    with pytest.raises(AirflowFailException, match=r"1 of 10 records failed \(10%\).*INVALID_BARCODE_LENGTH"):
        task(loading(file=FILE, check=False)).run()


@pytest.mark.parametrize(
    ("batch_type", "name", "body"),
    [
        (
            "ticketek-ticket",
            "tickets.jsonl",
            (
                '{"quantity":-1,"priceTypeCode":"A","productId":"G","orderId":"1","priceTypeName":"Adult",'
                '"barcodeClear":"5"}\r\n\r\n'
            ),
        ),
        (
            "business-onboard",
            "shops.csv",
            (
                "companyName,contactName,primaryContactEmail,externalBusinessId,categoryCode,settlementAccountNumber,"
                "assetProgramId,merchantName,merchantCountry,merchantType,externalMerchantId,salesChannelId,deviceId\n"
                'Acme,Ann,a@example.test,b1,5411,12-3,ap_1,"Acme, Ltd",NZ,e-commerce,m1,sc_1,d1\n'
            ),
        ),
    ],
)
def test_the_other_types(centrapay: Any, s3: Any, task: Any, batch_type: str, name: str, body: str) -> None:
    s3.put(name, body.encode())
    result = task(loading(type=batch_type, file=f"s3://aws_partner@crm/{name}")).run()
    assert (result["lines_read"], result["count"], result["lines_failed"]) == (1, 1, 0)
