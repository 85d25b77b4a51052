"""Every answer of centrapay.md section 7 over real HTTP: the exception, the message, what a retry will do."""

from __future__ import annotations

import asyncio
import itertools
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest

from airflow_bulk.emulator.centrapay_handle import ACCOUNT, TEST_ACCOUNT, CentrapayEmulator
from airflow_bulk.hooks.centrapay import CentrapayHook
from airflow_bulk.hooks.platform_hook import ConnectionFieldError
from airflow_bulk.platforms.call import Call
from airflow_bulk.platforms.centrapay import _NO_BATCH, _problem, get_batch
from airflow_bulk.platforms.errors import (
    FateUnknown,
    Forbidden,
    NotFound,
    PlatformError,
    Refused,
    TryLater,
    Unauthorized,
)

TICKET = (
    '{"quantity":1,"priceTypeCode":"A","productId":"G1","orderId":"1,2","priceTypeName":"Adult",'
    '"barcodeClear":"55512340"}\n'
)
WAYS = ("send", "asend")


def ask(call: Call[Any], way: str) -> Any:
    """Carry a call out in one of the two ways."""
    hook = CentrapayHook()
    if way == "send":
        return hook.send(call)

    async def once() -> Any:
        try:
            return await hook.asend(call)
        finally:
            await hook.aclose()

    return asyncio.run(once())


def create(files: Any, **more: Any) -> Any:
    given = {"batch_type": "ticketek-ticket", "url": files.put("/tickets.jsonl", TICKET), **more}
    return CentrapayHook().create_batch(**given)


def posts(centrapay: CentrapayEmulator) -> int:
    return sum(call["method"] == "POST" for call in centrapay.emulator.requests())


def test_created_then_complete(centrapay: CentrapayEmulator, files: Any) -> None:
    made = create(files)
    assert (made.status, made.count, made.error_count, made.test) == ("created", 0, 0, False)
    now = CentrapayHook().get_batch(made.id)
    assert (now.status, now.count, now.error_count, now.errors) == ("complete", 1, 0, ())
    assert files.fetched == {"/tickets.jsonl": 1}


@pytest.mark.parametrize("way", WAYS)
def test_403_is_a_missing_batch_or_a_missing_permission(centrapay: CentrapayEmulator, way: str) -> None:
    with pytest.raises(Forbidden, match="no such batch, or no permission") as caught:
        ask(get_batch("nobody"), way)
    assert "A retry cannot help" in str(caught.value)
    assert len(centrapay.emulator.requests()) == 1


@pytest.mark.parametrize("way", WAYS)
def test_401_says_what_to_do(centrapay: CentrapayEmulator, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = json.loads(centrapay.connection_json())
    monkeypatch.setenv("AIRFLOW_CONN_CENTRAPAY_DEFAULT", json.dumps({**connection, "password": "canary-key"}))
    with pytest.raises(Unauthorized, match="Renew it in the connection") as caught:
        ask(get_batch("nobody"), way)
    assert "canary-key" not in str(caught.value)


def test_400_is_never_repeated(centrapay: CentrapayEmulator, files: Any) -> None:
    with pytest.raises(Refused, match=r"400 \(url is invalid\). A retry cannot help"):
        create(files, url="ftp://somewhere/x")
    assert posts(centrapay) == 1


@pytest.mark.parametrize(("account", "test"), [(ACCOUNT, True), (TEST_ACCOUNT, False), (TEST_ACCOUNT, None)])
def test_liveness(centrapay: CentrapayEmulator, files: Any, account: str, test: bool | None) -> None:
    with pytest.raises(Forbidden, match=r"LIVENESS_MISMATCH.*test=True is for test accounts alone"):
        create(files, account_id=account, test=test)
    assert posts(centrapay) == 1


def test_the_older_spelling_of_liveness_is_read() -> None:
    from airflow_bulk.platforms.call import Reply

    body = b'{"statusCode":403,"error":"Forbidden","message":"LIVENESS_MISSMATCH"}'
    assert "test flag" in _problem(_NO_BATCH)(Reply(403, {}, body)).meaning


def test_the_account_of_another_key(centrapay: CentrapayEmulator, files: Any) -> None:
    with pytest.raises(Forbidden, match=r"403 \(Forbidden\): no permission to create this batch"):
        create(files, account_id="somebodyElse")


@pytest.mark.parametrize("way", WAYS)
def test_404_is_an_unknown_route(centrapay: CentrapayEmulator, way: str) -> None:
    call = get_batch("x")
    wrong = Call("GET", "/api/external-asset-batches/x", call.what, call.parse, call.problem)
    with pytest.raises(NotFound, match=r"404, an unknown route or method.*check the base URL"):
        ask(wrong, way)


@pytest.mark.parametrize("way", WAYS)
def test_429_waits_as_asked_and_goes_on(centrapay: CentrapayEmulator, files: Any, way: str) -> None:
    batch = create(files)
    centrapay.emulator.fault("rate_limited", path="^/api/", times=2, retry_after=1)
    assert ask(get_batch(batch.id), way).status == "complete"
    reads = [call for call in centrapay.emulator.requests() if call["method"] == "GET"]
    assert [call["status"] for call in reads] == [429, 429, 200]
    assert all(later["at"] - earlier["at"] >= 1000 for earlier, later in itertools.pairwise(reads))


@pytest.mark.parametrize("way", WAYS)
def test_429_for_longer_than_a_call_waits(
    centrapay: CentrapayEmulator, way: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    centrapay.emulator.fault("rate_limited", path="^/api/", retry_after=600)
    pace = 59_999 if way == "send" else 59_998  # a budget of this test's own: it stays held
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("AIRFLOW_CONN_CENTRAPAY_DEFAULT", centrapay.connection_json(requests_per_minute=pace))
    with pytest.raises(TryLater, match="RATE_LIMIT_EXCEEDED") as caught:
        ask(get_batch("x"), way)
    assert caught.value.retry_after == 600
    assert "A retry asks again" in str(caught.value)


def test_429_on_the_post_is_repeated(centrapay: CentrapayEmulator, files: Any) -> None:
    centrapay.emulator.fault("rate_limited", path="^/api/", times=1, retry_after=0)
    create(files)
    assert posts(centrapay) == 2
    assert len(centrapay.batches()) == 1


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("status", [500, 503])
def test_5xx_on_a_read_is_asked_again(
    centrapay: CentrapayEmulator, files: Any, way: str, status: int
) -> None:
    batch = create(files)
    centrapay.emulator.fault("server_error", path="^/api/", times=2, status=status)
    assert ask(get_batch(batch.id), way).status == "complete"


@pytest.mark.parametrize(
    "fault",
    [
        {"name": "lost_answer"},
        {"name": "lost_answer", "how": "reset"},
        {"name": "server_error", "status": 500},
        {"name": "server_error", "status": 502, "when": "after"},
        {"name": "html_answer"},
        {"name": "empty_answer"},
        {"name": "half_answer"},
    ],
    ids=lambda fault: "-".join(str(value) for value in fault.values()),
)
def test_the_post_is_never_repeated_when_its_fate_is_unknown(
    centrapay: CentrapayEmulator, files: Any, fault: dict[str, Any]
) -> None:
    centrapay.emulator.fault(**{"path": "^/api/", "method": "POST", **fault})
    with pytest.raises(FateUnknown, match="nothing is posted again by itself"):
        create(files)
    assert posts(centrapay) == 1


def test_a_post_that_was_never_connected_is_repeated(
    centrapay: CentrapayEmulator, files: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "AIRFLOW_CONN_CENTRAPAY_DEFAULT",
        json.dumps(
            {**json.loads(centrapay.connection_json(account_id=ACCOUNT)), "host": "http://127.0.0.1:9"}
        ),
    )
    call = {"batch_type": "ticketek-ticket", "url": files.url}
    with pytest.raises(TryLater, match="no connection, so nothing was sent") as caught:
        CentrapayHook().create_batch(**call)
    assert not isinstance(caught.value, FateUnknown)


# -- Connection ------------------------------------------------------------------------------------------------


def test_the_test_button(centrapay: CentrapayEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    accepted, said = CentrapayHook().test_connection()
    assert accepted and "accepted" in said
    (call,) = centrapay.emulator.requests()
    assert (call["method"], call["status"]) == ("GET", 403)
    connection = {**json.loads(centrapay.connection_json()), "password": "canary-key"}
    monkeypatch.setenv("AIRFLOW_CONN_CENTRAPAY_DEFAULT", json.dumps(connection))
    accepted, said = CentrapayHook().test_connection()
    assert not accepted and said.startswith("401") and "canary" not in said


def test_a_users_token_goes_with_its_account(
    centrapay: CentrapayEmulator, files: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = centrapay.connection_json(credentials="user", account_id=ACCOUNT)
    monkeypatch.setenv("AIRFLOW_CONN_CENTRAPAY_DEFAULT", user)
    assert create(files).id
    assert set(CentrapayHook().endpoint.headers) == {"Authorization", "X-Centrapay-Account"}
    monkeypatch.setenv("AIRFLOW_CONN_CENTRAPAY_DEFAULT", centrapay.connection_json(credentials="user"))
    with pytest.raises(ConnectionFieldError, match="account_id"):
        create(files)


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [("password", "", "password"), ("extra", {"credentials": "jwt"}, "credentials")],
)
def test_a_connection_that_cannot_be_used(
    centrapay: CentrapayEmulator, monkeypatch: pytest.MonkeyPatch, field: str, value: Any, named: str
) -> None:
    connection = {**json.loads(centrapay.connection_json()), field: value}
    monkeypatch.setenv("AIRFLOW_CONN_CENTRAPAY_DEFAULT", json.dumps(connection))
    with pytest.raises(ConnectionFieldError, match=named):
        CentrapayHook().get_batch("x")


def test_no_account_anywhere(
    centrapay: CentrapayEmulator, files: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_CENTRAPAY_DEFAULT", centrapay.connection_json())
    with pytest.raises(ConnectionFieldError, match="account_id"):
        create(files)


def test_one_budget_for_the_credentials(
    centrapay: CentrapayEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = json.loads(centrapay.connection_json())
    del connection["extra"]["requests_per_minute"]
    for name in ("CENTRAPAY_DEFAULT", "CENTRAPAY_OTHER"):
        monkeypatch.setenv(f"AIRFLOW_CONN_{name}", json.dumps(connection))
    one, other = CentrapayHook(), CentrapayHook("centrapay_other")
    assert one.budget is other.budget
    waits = [one.budget.reserve().wait for _ in range(201)]
    assert waits[-1] >= 60  # 200 a minute
    monkeypatch.setenv("AIRFLOW_CONN_CENTRAPAY_OTHER", json.dumps({**connection, "password": "another"}))
    assert CentrapayHook("centrapay_other").budget is not one.budget


def test_one_budget_for_the_keys_of_an_account(
    centrapay: CentrapayEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def budget(password: str, **extra: Any) -> Any:
        connection = json.loads(centrapay.connection_json(requests_per_minute=59_997, **extra))
        monkeypatch.setenv("AIRFLOW_CONN_CENTRAPAY_DEFAULT", json.dumps({**connection, "password": password}))
        return CentrapayHook().budget

    one = budget("one-key", account_id=ACCOUNT)
    assert budget("another-key", account_id=ACCOUNT) is one
    assert budget("one-key") is budget("another-key") is one
    assert budget("a-third-key", account_id=TEST_ACCOUNT) is not one
    # A user's token is charged to the user, whichever account it acts for.
    user = {"credentials": "user", "account_id": ACCOUNT}
    assert budget("one-token", **user) not in (one, budget("another-token", **user))


# -- Assets ----------------------------------------------------------------------------------------------------


def test_asset_reads(centrapay: CentrapayEmulator, files: Any) -> None:
    lines = "".join(
        json.dumps({"externalId": f"acc-{n}", "availableBalance": str(n)}) + "\n" for n in range(250)
    )
    create(files, batch_type="farmlands-external-asset", url=files.put("/accounts.jsonl", lines))
    hook = CentrapayHook()
    asset = hook.get_asset_by_external_id("farmlands.nzd.main", "acc-7")
    assert (asset.available_balance, asset.currency, asset.liveness) == ("7", "NZD", "main")
    assert hook.get_asset(asset.id) == hook.get_asset_summary(asset.id) == asset
    assert len(list(hook.list_account_assets())) == 250
    assert list(hook.list_account_assets(external_id="acc-7")) == [asset]
    with pytest.raises(Forbidden, match="no such object, or no permission"):
        hook.get_asset_by_external_id("farmlands.nzd.main", "acc-x")
    with pytest.raises(PlatformError):
        hook.get_asset("x/../../batches/1")
