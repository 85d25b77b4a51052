"""mediarithmics.md section 1.2: who may call, and what everything else answers."""

import socket
import urllib.parse

import pytest
import requests

from airflow_bulk.emulator.handle import Emulator


def test_both_spellings_of_the_token(api):
    for spelling in (api.emulator.token, f"api:{api.emulator.token}"):
        api.session.headers["Authorization"] = spelling
        assert api.imports("GET").status_code == 200


@pytest.mark.parametrize("spelling", [None, "", "nobody", "api:nobody", "Bearer {token}", "API:{token}"])
@pytest.mark.parametrize("path", ["/datamarts/3300/document_imports", "/plugins", "/data_file/data?uri=x"])
def test_anything_else_is_401(api, spelling, path):
    headers = {} if spelling is None else {"Authorization": spelling.format(token=api.emulator.token)}
    answer = requests.get(f"{api.emulator.url}/v1{path}", headers=headers, timeout=60)
    message = api.error(answer, 401)
    assert api.emulator.token not in message
    assert answer.headers["X-Bulk-Emulator"] == "airflow-provider-bulk"


def access_token(api, **fields):
    body = {"email": "ada@example.org", "password": api.emulator.token, **fields}
    return requests.post(f"{api.emulator.url}/v1/authentication/access_tokens", json=body, timeout=60)


def test_a_temporary_access_token_counts_for_an_hour(api):
    answer = access_token(api).json()
    assert answer["status"] == "ok"
    token = answer["data"].pop("access_token")
    assert answer["data"] == {"expires_in": 3600, "refresh_token": None}
    assert token != api.emulator.token
    for spelling in (token, f"api:{token}"):
        api.session.headers["Authorization"] = spelling
        assert api.imports("GET").status_code == 200
    api.emulator.restart()
    assert api.imports("GET").status_code == 200
    api.emulator.clock.advance(3601)
    api.error(api.imports("GET"), 401)


def test_a_changed_access_token_is_401(api):
    end, signature = access_token(api).json()["data"]["access_token"].split("-")
    for token in (f"{int(end) + 1}-{signature}", f"{end}-{'0' * 64}", f"{end}-", end, f"-{signature}"):
        api.session.headers["Authorization"] = token
        api.error(api.imports("GET"), 401)


@pytest.mark.parametrize(
    ("fields", "status"),
    [({"password": "nobody"}, 401), ({"password": ""}, 400), ({"email": " "}, 400), ({"email": None}, 400)],
)
def test_access_tokens_are_for_the_account_alone(api, fields, status):
    assert api.emulator.token not in api.error(access_token(api, **fields), status)


def test_a_foreign_datamart_is_403(api):
    for path in ("", "/1", "/1/executions", "/1/executions/2"):
        api.error(api.call("GET", f"/datamarts/3301/document_imports{path}"), 403)


def test_several_datamarts_are_kept_apart(api):
    with Emulator.start(datamart=["11", "12"], organisation="7") as emulator:
        api.emulator = emulator
        api.session.headers["Authorization"] = emulator.token
        assert (emulator.datamart_id, emulator.organisation_id) == ("11", "7")
        import_id = api.create()
        assert api.call("GET", "/datamarts/12/document_imports").json()["total"] == 0
        api.error(api.call("GET", f"/datamarts/12/document_imports/{import_id}"), 404)
        api.error(api.call("GET", "/datamarts/3300/document_imports"), 403)
        assert api.execution(import_id, api.uploaded(import_id, b"{}\n"))["organisation_id"] == "7"


def test_plugins_are_an_empty_list(api):
    envelope = api.call("GET", "/plugins", params={"max_results": 7}).json()
    assert (envelope["data"], envelope["total"], envelope["max_results"]) == ([], 0, 7)


def test_unknown_paths_and_methods_use_the_error_envelope(api):
    api.error(api.call("GET", "/nothing"), 404)
    api.error(api.imports("PATCH"), 405)


def test_even_what_is_no_http_is_answered_with_the_mark(api):
    address = urllib.parse.urlsplit(api.emulator.url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(b"this is no HTTP\r\n\r\n")
        answer = connection.recv(4096).lower()
    assert answer.startswith(b"http/1.1 400")
    assert b"x-bulk-emulator: airflow-provider-bulk" in answer


def test_control_needs_the_token_too(api):
    for path in ("", "/held", "/requests", "/imports"):
        answer = requests.get(f"{api.emulator.url}/_emulator{path}", timeout=60)
        api.error(answer, 401)
