"""The emulated Centrapay itself: what it fetches, how it walks, in which order it refuses (centrapay.md section 9)."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

import pytest
from loading import account, accounts, bad_account

from airflow_bulk.emulator.centrapay_handle import ACCOUNT, CentrapayEmulator
from airflow_bulk.hooks.centrapay import CentrapayHook

TYPE = "farmlands-external-asset"


def create(url: str) -> str:
    return CentrapayHook().create_batch(batch_type=TYPE, url=url).id


def raw(
    centrapay: CentrapayEmulator, method: str, path: str, body: Any = None, **headers: str
) -> tuple[int, Any]:
    """One call without the hook."""
    data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(centrapay.emulator.url + path, data, method=method)
    for name, value in {"X-Api-Key": centrapay.emulator.token, **headers}.items():
        request.add_header(name.replace("_", "-"), value)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def test_statuses_follow_the_clock(centrapay: CentrapayEmulator, files: Any) -> None:
    centrapay.settings(step_seconds=60)
    centrapay.emulator.clock.freeze()
    batch_id = create(files.put("/a.jsonl", accounts(2)))
    seen = []
    for _ in range(5):
        seen.append(CentrapayHook().get_batch(batch_id))
        centrapay.emulator.clock.advance(60)
    assert [one.status for one in seen] == ["created", "copied", "chunked", "complete", "complete"]
    assert [one.count for one in seen] == [0, 0, 0, 2, 2]
    assert files.fetched["/a.jsonl"] == 1


def test_a_final_batch_never_changes_and_outlives_a_restart(centrapay: CentrapayEmulator, files: Any) -> None:
    url = files.put("/a.jsonl", accounts(2))
    batch_id = create(url)
    before = CentrapayHook().get_batch(batch_id)
    files.put("/a.jsonl", accounts(9))
    centrapay.emulator.restart()
    assert CentrapayHook().get_batch(batch_id) == before
    assert len(centrapay.assets()) == 2


def test_killed_before_it_has_fetched(centrapay: CentrapayEmulator, files: Any) -> None:
    batch_id = create(files.put("/a.jsonl", accounts(2)))
    centrapay.emulator.kill()
    centrapay.emulator.restart()
    assert CentrapayHook().get_batch(batch_id).count == 2


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://192.0.2.1/x.jsonl", "EMULATOR_FETCHES_FROM_LOOPBACK_ONLY"),
        ("https://files.example.test/x.jsonl", "EMULATOR_FETCHES_FROM_LOOPBACK_ONLY"),
        ("http://127.0.0.1.example.test/x", "EMULATOR_FETCHES_FROM_LOOPBACK_ONLY"),
        ("http://127.0.0.1:9/x.jsonl", "EMULATOR_FILE_NOT_REACHABLE"),
        ("http://127.0.0.1:9/a b", "EMULATOR_FILE_NOT_REACHABLE"),
    ],
)
def test_what_it_does_not_fetch(centrapay: CentrapayEmulator, url: str, code: str) -> None:
    batch_id = create(url)
    batch = CentrapayHook().get_batch(batch_id)
    assert (batch.status, [one.message for one in batch.errors]) == ("error", [code])


def test_errors_of_records(centrapay: CentrapayEmulator, files: Any) -> None:
    lines = [account(1), bad_account(2), '{"externalId":"acc-3"', "[]", "nothing", '{"accountNumber":"7"}']
    centrapay.settings(most_errors=4)
    batch = CentrapayHook().get_batch(create(files.put("/a.jsonl", "\n".join(lines))))
    assert (batch.status, batch.count, batch.error_count) == ("complete", 6, 5)
    assert [(one.index, one.external_id, one.message) for one in batch.errors] == [
        ("1", "acc-2", "INVALID_BARCODE_LENGTH"),
        ("2", None, "No closing bracket found"),
        ("3", None, "EMULATOR_NOT_AN_OBJECT"),
        ("4", None, "EMULATOR_NOT_JSON"),
    ]
    assert [asset["externalId"] for asset in centrapay.assets()] == ["acc-1"]


def test_an_update_without_a_balance_keeps_it(centrapay: CentrapayEmulator, files: Any) -> None:
    create(files.put("/a.jsonl", account(5)))
    create(files.put("/b.jsonl", '{"externalId":"acc-5"}\n{"externalId":"acc-6"}\n'))
    assert {one["externalId"]: one["availableBalance"] for one in centrapay.assets()} == {
        "acc-5": "5",
        "acc-6": "0",
    }


GOOD = {"type": TYPE, "url": "http://127.0.0.1:9/x", "accountId": ACCOUNT}
JSON = {"Content_Type": "application/json"}


@pytest.mark.parametrize(
    ("body", "headers", "status", "message"),
    [
        ({**GOOD, "type": ""}, {**JSON, "X_Api_Key": "wrong"}, 401, "Unauthorized"),
        ({**GOOD, "url": None, "accountId": "other"}, JSON, 400, "url is required"),
        ({**GOOD, "accountId": 5}, JSON, 400, "accountId is required"),
        ({**GOOD, "test": "yes"}, JSON, 400, "test must be a boolean"),
        ({**GOOD, "type": "farmlands"}, JSON, 400, "type is invalid"),
        (b"{", JSON, 400, "Invalid request payload JSON format"),
        (GOOD, {"Content_Type": "text/plain"}, 400, "Content-Type must be application/json"),
        ({**GOOD, "accountId": "other"}, JSON, 403, "Forbidden"),
        ({**GOOD, "test": True}, JSON, 403, "LIVENESS_MISMATCH"),
    ],
)
def test_refusals_and_their_order(
    centrapay: CentrapayEmulator, body: Any, headers: dict[str, str], status: int, message: str
) -> None:
    answer = raw(centrapay, "POST", "/api/batches", body, **headers)
    named = {400: {}, 401: {"error": "Unauthorized"}, 403: {"error": "Forbidden"}}[status]
    assert answer == (status, {"statusCode": status, **named, "message": message})
    assert centrapay.batches() == []


@pytest.mark.parametrize(("method", "path"), [("GET", "/api/nothing"), ("DELETE", "/api/batches/x")])
def test_an_unknown_route_or_method_is_404(centrapay: CentrapayEmulator, method: str, path: str) -> None:
    assert raw(centrapay, method, path) == (
        404,
        {"statusCode": 404, "error": "Not Found", "message": "Not Found"},
    )


def test_missing_authentication(centrapay: CentrapayEmulator) -> None:
    answer = raw(centrapay, "GET", "/api/batches/x", X_Api_Key="")
    assert answer == (
        401,
        {"statusCode": 401, "error": "Unauthorized", "message": "Missing authentication"},
    )


def test_a_setting_that_does_not_exist(centrapay: CentrapayEmulator) -> None:
    from airflow_bulk.emulator.handle import EmulatorError

    with pytest.raises(EmulatorError, match="no setting is called 'step'"):
        centrapay.settings(step=1)


def test_a_record_that_keeps_all_rules_may_be_refused(centrapay: CentrapayEmulator, files: Any) -> None:
    centrapay.settings(refused={"acc-2": "EMULATOR_REFUSED"})
    batch = CentrapayHook().get_batch(create(files.put("/a.jsonl", accounts(3))))
    (error,) = batch.errors
    assert (batch.count, error.external_id, error.message) == (3, "acc-2", "EMULATOR_REFUSED")
    assert [asset["externalId"] for asset in centrapay.assets()] == ["acc-1", "acc-3"]
