"""Every document-import and execution call through the hook, and what a connection may hold."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from fed_import import FedImport

from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.hooks.mediarithmics import MediarithmicsHook
from airflow_bulk.hooks.platform_hook import ConnectionFieldError
from airflow_bulk.platforms.errors import Forbidden, NotFound, Refused
from both_ways import Connected
from scripted_server import ScriptedServer


@pytest.fixture
def hook(connected: Connected) -> Iterator[MediarithmicsHook]:
    made = connected.hook()
    yield made
    made.close()


@pytest.fixture
def fed(bulk_emulator: Emulator) -> FedImport:
    bulk_emulator.settings(start_delay=100_000)
    return FedImport(bulk_emulator)


def create(hook: MediarithmicsHook, name: str = "profiles", **more: Any) -> Any:
    return hook.create_document_import(document_type="USER_PROFILE", name=name, **more)


# Imports.


def test_create_and_get(hook: MediarithmicsHook) -> None:
    made = create(hook, priority="LOW", shuffle_lines=False, use_processing_pipeline=None)
    assert (made.name, made.priority, made.shuffle_lines) == ("profiles", "LOW", False)
    assert (made.document_type, made.mime_type, made.encoding) == (
        "USER_PROFILE",
        "APPLICATION_X_NDJSON",
        "utf-8",
    )
    assert str(made.datamart_id) == "3300"
    assert hook.get_document_import(made.id) == made


def test_what_is_not_given_is_not_sent(connected: Connected) -> None:
    with ScriptedServer((200, {}, b'{"status": "ok", "data": {"id": "7"}}')) as server:
        made = create(connected.hook(host=server.url), priority=None)
    assert json.loads(server.asked[0].body) == {
        "document_type": "USER_PROFILE",
        "mime_type": "APPLICATION_X_NDJSON",
        "encoding": "utf-8",
        "name": "profiles",
    }
    # An answer with nothing but the id is an import, too.
    assert made.id == "7"


def test_fields_nobody_documented_are_tolerated(connected: Connected) -> None:
    body = {"status": "ok", "data": {"id": "7", "new": {"a": [1]}, "priority": "WHENEVER"}, "more": 1}
    with ScriptedServer((200, {}, json.dumps(body).encode())) as server:
        assert create(connected.hook(host=server.url)).priority == "WHENEVER"


def test_update_puts_the_whole_object_back(hook: MediarithmicsHook, bulk_emulator: Emulator) -> None:
    made = create(hook, priority="LOW")
    changed = hook.update_document_import(made.id, {"name": "other"})
    assert (changed.name, changed.priority) == ("other", "LOW")
    assert [one["method"] for one in bulk_emulator.requests()] == ["POST", "GET", "PUT"]


def test_an_update_keeps_fields_nobody_knows(connected: Connected) -> None:
    body = b'{"status": "ok", "data": {"id": "7", "name": "old", "secret_sauce": {"x": 1}}}'
    with ScriptedServer((200, {}, body)) as server:
        connected.hook(host=server.url).update_document_import("7", {"name": "new"})
    assert json.loads(server.asked[1].body) == {"id": "7", "name": "new", "secret_sauce": {"x": 1}}


@pytest.mark.parametrize("fault", [None, {"status": 200}, {"status": 204}])
def test_delete_whatever_the_answer_looks_like(
    hook: MediarithmicsHook, bulk_emulator: Emulator, fault: dict[str, int] | None
) -> None:
    made = create(hook)
    if fault is not None:
        bulk_emulator.fault("empty_delete", **fault)
    assert hook.delete_document_import(made.id) is None  # type: ignore[func-returns-value]
    with pytest.raises(NotFound):
        hook.get_document_import(made.id)


def test_list_filters(hook: MediarithmicsHook, bulk_emulator: Emulator) -> None:
    for name in ("crm b", "crm a", "shop"):
        create(hook, name)
    names = [one.name for one in hook.list_document_imports(keywords="crm", order_by="name")]
    assert names == ["crm a", "crm b"]
    kinds = hook.list_document_imports(
        mime_type="APPLICATION_X_NDJSON", document_types=["USER_PROFILE", "USER_CHOICE"], label_ids=["1", "2"]
    )
    list(kinds)
    asked = bulk_emulator.requests()[-1]["query"]
    assert "document_types=USER_PROFILE%2CUSER_CHOICE" in asked and "label_ids=1%2C2" in asked
    assert "keywords" not in asked


# Pages.


def test_pages_are_asked_for_when_they_are_needed(hook: MediarithmicsHook, bulk_emulator: Emulator) -> None:
    bulk_emulator.settings(max_page_size=3)
    made = [create(hook, f"n{number}").id for number in range(8)]
    bulk_emulator.clear_requests()
    found = hook.list_document_imports()
    assert bulk_emulator.requests() == []
    assert [one.id for one in itertools.islice(found, 2)] == made[:2]
    assert len(bulk_emulator.requests()) == 1
    assert [one.id for one in found] == made[2:]
    assert len(bulk_emulator.requests()) == 3


@pytest.mark.parametrize("count", [0, 1, 3, 6, 7])
def test_a_list_without_total_ends_all_the_same(
    hook: MediarithmicsHook, bulk_emulator: Emulator, count: int
) -> None:
    bulk_emulator.settings(max_page_size=3)
    bulk_emulator.fault("missing_total")
    made = [create(hook, f"n{number}").id for number in range(count)]
    assert [one.id for one in hook.list_document_imports()] == made


@pytest.mark.parametrize("spelling", ["max_results", "max_result", None])
def test_both_spellings_of_the_page_size(connected: Connected, spelling: str | None) -> None:
    def page(*ids: int) -> tuple[int, dict[str, str], bytes]:
        body: dict[str, Any] = {"status": "ok", "data": [{"id": str(one)} for one in ids], "count": len(ids)}
        if spelling is not None:
            body[spelling] = 2
        return 200, {}, json.dumps(body).encode()

    with ScriptedServer(page(1, 2), page(3), page()) as server:
        found = [one.id for one in connected.hook(host=server.url).list_document_imports()]
    # Without any, a page below the 500 that were asked for is the last one.
    assert found == (["1", "2", "3"] if spelling else ["1", "2"])
    offsets = [one.target.split("first_result=")[1].split("&")[0] for one in server.asked]
    assert offsets == (["0", "2"] if spelling else ["0"])


def test_a_total_that_is_too_high_ends_at_the_empty_page(connected: Connected) -> None:
    full = json.dumps({"data": [{"id": "1"}], "total": 99}).encode()
    with ScriptedServer((200, {}, full), (200, {}, b'{"data": [], "total": 99}')) as server:
        assert len(list(connected.hook(host=server.url).list_document_imports())) == 1
    assert len(server.asked) == 2


# Executions.


def test_executions_newest_first(hook: MediarithmicsHook, fed: FedImport) -> None:
    ids = [fed.upload() for _ in range(3)]
    assert [one.id for one in hook.list_executions(fed.id)] == ids[::-1]


def test_an_execution_before_and_after(hook: MediarithmicsHook, fed: FedImport) -> None:
    execution = fed.upload(2, bad=1)
    before = hook.get_execution(fed.id, execution)
    assert (before.status, before.number_of_lines, before.result, before.end_date) == (
        "PENDING",
        None,
        None,
        None,
    )
    fed.end(execution)
    after = hook.get_execution(fed.id, execution)
    assert (after.status, after.number_of_lines, after.accepted, after.failed) == ("SUCCEEDED", 3, 2, 1)
    assert after.end_date is not None


def test_cancel_and_what_cannot_be(hook: MediarithmicsHook, fed: FedImport) -> None:
    pending, running = fed.upload(), fed.upload()
    fed.start(running)
    assert hook.cancel_execution(fed.id, pending).status == "CANCELED"
    assert hook.cancel_execution(fed.id, running).status == "RUNNING"
    # Twice is no error.
    assert hook.cancel_execution(fed.id, pending).status == "CANCELED"


@pytest.mark.parametrize("how", [{"status": 200}, {"status": 400}])
def test_a_refused_cancel_is_told_by_the_status_alone(
    hook: MediarithmicsHook, fed: FedImport, how: dict[str, int]
) -> None:
    pending = fed.upload()
    fed.emulator.fault("refuse_cancel", **how)
    assert hook.cancel_execution(fed.id, pending).status == "PENDING"


def test_a_cancel_whose_answer_was_lost(hook: MediarithmicsHook, fed: FedImport) -> None:
    pending = fed.upload()
    fed.emulator.fault("lost_answer", times=1)
    assert hook.cancel_execution(fed.id, pending).status == "CANCELED"


def test_a_cancel_without_the_right_is_an_error(hook: MediarithmicsHook, fed: FedImport) -> None:
    pending = fed.upload()
    fed.emulator.fault("forbidden", method="POST")
    with pytest.raises(Forbidden):
        hook.cancel_execution(fed.id, pending)


def test_the_error_file_by_header_and_by_query(hook: MediarithmicsHook, fed: FedImport) -> None:
    execution = fed.upload(1, bad=2)
    fed.end(execution)
    result = hook.get_execution(fed.id, execution).result
    assert result is not None and result.error_file_uri is not None
    fed.emulator.clear_requests()
    by_header = hook.fetch_error_file(result.error_file_uri)
    assert by_header.count(b"\n") == 3
    assert hook.fetch_error_file(result.error_file_uri, token_in_query=True) == by_header
    first, second = (one["query"] for one in fed.emulator.requests())
    assert "access_token" not in first and "access_token=*" in second
    assert fed.emulator.token not in fed.emulator.log


def test_an_error_file_that_is_gone(hook: MediarithmicsHook, bulk_emulator: Emulator) -> None:
    with pytest.raises(NotFound, match="fetch a data file"):
        hook.fetch_error_file("mics://data_file/nothing_errors.csv")


# The connection.


def test_the_console_url(connected: Connected) -> None:
    hook = connected.hook()
    url = "https://navigator.mediarithmics.com/#/v2/o/900/datastudio/datamart/3300/imports/7"
    assert hook.console_url("7", "3300") == url
    assert hook.console_url("7", "3300", "5") == url.replace("/o/900/", "/o/5/")
    own = connected.hook(console_base_url="https://console.example/")
    assert own.console_url("7", "3300") == url.replace(
        "https://navigator.mediarithmics.com", "https://console.example"
    )
    # The console's route takes digits alone, and those of ASCII.
    for odd in ("seven", "²", "١٢", ""):
        assert hook.console_url(odd, "3300") is None
        assert hook.console_url("7", odd) is None
    assert hook.console_url("7", "3300", "²") is None
    assert connected.hook(organisation_id=None).console_url("7", "3300") is None


@pytest.mark.parametrize("odd", ["²", "١٢", "seven"])
def test_a_datamart_is_made_of_digits(connected: Connected, odd: str) -> None:
    with pytest.raises(ValueError, match="datamart_id must be made of digits"):
        connected.hook().datamart(odd)


def test_test_connection(connected: Connected, bulk_emulator: Emulator) -> None:
    assert connected.hook().test_connection() == (
        True,
        "The API token is accepted, and datamart 3300 can be read.",
    )
    assert [one["query"] for one in bulk_emulator.requests()] == ["first_result=0&max_results=1"]
    ok, told = connected.hook(datamart_id=None).test_connection()
    assert ok and "Set datamart_id" in told
    assert bulk_emulator.requests()[-1]["path"] == "/v1/plugins"


@pytest.mark.parametrize("datamart", ["3300", None])
@pytest.mark.parametrize(
    ("fault", "told"),
    [("unauthorized", "401: .*API Tokens; e-mail and password"), ("forbidden", "403: .*no right")],
)
def test_test_connection_tells_401_from_403(
    connected: Connected, bulk_emulator: Emulator, datamart: str | None, fault: str, told: str
) -> None:
    import re

    bulk_emulator.fault(fault)
    ok, said = connected.hook(datamart_id=datamart).test_connection()
    assert not ok
    assert re.search(told, said)
    assert len(bulk_emulator.requests()) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"password": ""},
        {"host": "ftp://platform"},
        {"datamart_id": "thirty"},
        {"read_timeout": "soon"},
        {"requests_per_minute": -1},
        {"verify": "perhaps"},
        {"proxies": "http://proxy"},
        {"ca_path": "/nowhere"},
        {"host": "http://127.0.0.1:1"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_bad_connection_is_told_by_the_button(connected: Connected, changes: dict[str, Any]) -> None:
    ok, said = connected.hook(**changes).test_connection()
    assert not ok
    assert said
    assert connected.connection["password"] not in said


@pytest.mark.parametrize(
    ("changes", "url"),
    [
        ({"host": "api.example.com"}, "https://api.example.com"),
        ({"host": "api.example.com", "schema": "http", "port": 8080}, "http://api.example.com:8080"),
        ({"host": "https://api.example.com/"}, "https://api.example.com"),
        ({"host": "https://api.example.com/gate/", "port": 444}, "https://api.example.com:444/gate"),
        ({"host": "http://127.0.0.1:9", "port": 8}, "http://127.0.0.1:9"),
        ({"host": None}, "https://api.mediarithmics.com"),
    ],
)
def test_the_base_url(connected: Connected, changes: dict[str, Any], url: str) -> None:
    assert connected.hook(**changes).endpoint.base_url == url


def test_the_fields_may_be_text_as_the_form_stores_them(connected: Connected) -> None:
    endpoint = connected.hook(connect_timeout="3", read_timeout="4.5", verify="", ca_path=" ").endpoint
    assert (endpoint.connect_timeout, endpoint.read_timeout, endpoint.verify) == (3.0, 4.5, True)


@pytest.mark.parametrize(
    ("token", "prefix", "header"),
    [
        ("abc", None, "abc"),
        ("abc", "api:", "api:abc"),
        ("abc", "Bearer ", "Bearer abc"),
        ("api:abc", "api:", "api:abc"),
        (" abc\n", "", "abc"),
    ],
)
def test_the_authorization_header(connected: Connected, token: str, prefix: str | None, header: str) -> None:
    assert connected.hook(password=token, token_prefix=prefix).endpoint.headers == {"Authorization": header}


def test_the_datamart_is_the_one_given_or_the_connections(connected: Connected) -> None:
    hook = connected.hook()
    assert hook.datamart() == "3300"
    assert hook.datamart(44) == hook.datamart(" 44 ") == "44"
    with pytest.raises(ConnectionFieldError, match="give datamart_id, or set the field"):
        connected.hook(datamart_id=None).datamart()
    with pytest.raises(ConnectionFieldError, match="digits"):
        hook.datamart("../3301")


def test_an_id_cannot_leave_its_place_in_the_path(connected: Connected) -> None:
    with ScriptedServer((404, {}, b"")) as server, pytest.raises(NotFound):
        connected.hook(host=server.url).get_document_import("7/../../8?x=1")
    assert server.asked[0].target == "/v1/datamarts/3300/document_imports/7%2F..%2F..%2F8%3Fx%3D1"


def test_a_right_that_is_missing_on_another_datamart(hook: MediarithmicsHook) -> None:
    with pytest.raises(Forbidden, match="list the document imports of datamart 9999"):
        list(hook.list_document_imports("9999"))


def test_what_the_platform_refuses_says_why(hook: MediarithmicsHook) -> None:
    with pytest.raises(Refused, match=r"create the document import.*400"):
        hook.create_document_import(document_type="NO_SUCH_TYPE", name="n")
