"""mediarithmics.md section 3: one call, one file, one execution."""

import concurrent.futures
import gzip
import shutil
import socket
import subprocess
import time
import urllib.parse

import pytest

CREATED = {
    "parameters": None,
    "result": None,
    "error": None,
    "status": "PENDING",
    "start_date": None,
    "duration": None,
    "organisation_id": "900",
    "user_id": None,
    "cancel_status": None,
    "debug": None,
    "is_retryable": False,
    "num_tasks": None,
    "completed_tasks": None,
    "erroneous_tasks": None,
    "retry_count": 0,
    "job_type": "DOCUMENT_IMPORT",
    "import_mode": "MANUAL_FILE",
    "import_type": None,
}


def wait_until(condition):
    """Wait for something that the emulator does by itself; the limit only ends a broken test."""
    limit = time.monotonic() + 30
    while not (found := condition()):
        assert time.monotonic() < limit, "it never came"
        time.sleep(0.01)
    return found


@pytest.mark.parametrize("start_delay", [0.0, 5.0])
def test_the_answer_is_the_creation_shape(api, start_delay):
    api.emulator.settings(start_delay=start_delay, run_seconds=0)
    api.emulator.clock.freeze()
    answer = api.upload(api.create(), api.lines(1))
    assert answer.status_code == 200
    data = answer.json()["data"]
    assert data.pop("id").isdigit()
    assert data.pop("creation_date") == api.emulator.clock.now()
    assert data.pop("permalink_uri")
    # No end_date key at all, as in the sample.
    assert data == CREATED


@pytest.mark.parametrize(
    "content_type",
    ["application/x-ndjson", "Application/X-NDJSON; charset=utf-8", "application/x-ndjson;a=b;c"],
)
@pytest.mark.parametrize("slash", ["", "/"])
def test_trailing_slash_and_parameters_make_no_difference(api, content_type, slash):
    import_id = api.create()
    path = f"/{import_id}/executions{slash}"
    answer = api.imports("POST", path, data=api.lines(1), headers={"Content-Type": content_type})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "content_type", ["text/csv", "application/json", "", "application/x-www-form-urlencoded"]
)
def test_another_content_type_is_415(api, content_type):
    import_id = api.create()
    api.error(api.upload(import_id, api.lines(1), content_type), 415)
    assert api.emulator.executions(import_id) == []


def test_lenient_takes_any_content_type_but_none(api):
    api.emulator.settings(strict=False)
    import_id = api.create()
    assert api.upload(import_id, api.lines(1), "text/plain").status_code == 200
    api.error(api.upload(import_id, api.lines(1), ""), 415)


def test_a_compressed_body_is_415(api):
    import_id = api.create()
    body = gzip.compress(api.lines(1))
    api.error(api.upload(import_id, body, headers={"Content-Encoding": "gzip"}), 415)


def test_an_empty_body_is_400_and_lenient_an_execution_of_nothing(api):
    import_id = api.create()
    api.error(api.upload(import_id, b""), 400)
    api.emulator.settings(strict=False, start_delay=0, run_seconds=0)
    execution = api.execution(import_id, api.uploaded(import_id, b""))
    assert execution["parameters"]["number_of_lines"] == 0
    assert execution["result"]["total_success"] == 0


def test_multipart_as_the_console_sends_it(api):
    api.emulator.settings(start_delay=0, run_seconds=0)
    import_id = api.create()
    files = {"file": ("crm.ndjson", api.lines(1, 2), "application/x-ndjson")}
    answer = api.imports(
        "POST", f"/{import_id}/executions", files=files, data={"type": "application/x-ndjson"}
    )
    assert answer.status_code == 200, answer.text
    execution = api.execution(import_id, answer.json()["data"]["id"])
    assert execution["result"]["input_file_name"] == "crm.ndjson"
    assert api.emulator.held(import_id) == {api.profile(1): 1, api.profile(2): 1}


@pytest.mark.parametrize(
    ("files", "status"),
    [
        ({"other": ("a.ndjson", b"{}\n", "application/x-ndjson")}, 400),
        ({"file": ("a.csv", b"{}\n", "text/csv")}, 415),
        ({"file": ("a.ndjson", b"", "application/x-ndjson")}, 400),
    ],
)
def test_multipart_that_is_wrong(api, files, status):
    import_id = api.create()
    api.error(api.imports("POST", f"/{import_id}/executions", files=files), status)
    assert api.emulator.executions(import_id) == []


def test_chunked_bodies_are_taken(api):
    import_id = api.create()
    api.uploaded(import_id, iter([api.lines(1), api.lines(2)[:10], api.lines(2)[10:]]))
    api.emulator.clock.advance(1)
    assert api.emulator.held(import_id) == {api.profile(1): 1, api.profile(2): 1}


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl_as_the_vendor_shows_it(api, tmp_path):
    """Big enough that curl asks first (Expect: 100-continue)."""
    import_id = api.create()
    source = tmp_path / "profiles.ndjson"
    source.write_bytes(api.lines(*range(20_000)))
    url = f"{api.emulator.url}/v1/datamarts/3300/document_imports/{import_id}/executions/"
    command = ["curl", "-sS", "--noproxy", "*", "--location", "--request", "POST", url]
    command += [
        "--header",
        "Content-Type: application/x-ndjson",
        "--header",
        f"Authorization: api:{api.emulator.token}",
    ]
    done = subprocess.run(
        [*command, "--data-binary", f"@{source}"], capture_output=True, text=True, check=False
    )
    assert '"status":"PENDING"' in done.stdout, done.stderr
    api.emulator.clock.advance(1)
    assert api.emulator.held_totals(import_id) == {
        "lines": 20_000,
        "different": 20_000,
        "more_than_once": 0,
        "executions": 1,
    }


@pytest.mark.parametrize("declared", [True, False])
def test_too_large_is_413_when_strict(api, declared):
    api.emulator.settings(max_body_bytes=1_000, start_delay=0)
    import_id = api.create()
    body = api.lines(*range(10_000))
    api.error(api.upload(import_id, body if declared else iter([body[:999], body[999:]])), 413)
    api.error(api.imports("POST", f"/{import_id}/executions", files={"file": ("a", body, api.NDJSON)}), 413)
    assert api.emulator.executions(import_id) == []
    api.emulator.settings(strict=False)
    api.uploaded(import_id, body)
    assert api.emulator.held_totals(import_id)["lines"] == 10_000


def test_the_limit_itself_is_accepted(api):
    body = api.lines(1)
    api.emulator.settings(max_body_bytes=len(body))
    import_id = api.create()
    api.uploaded(import_id, body)
    api.error(api.upload(import_id, body + b"\n"), 413)


def half_an_upload(api, import_id, *, chunked=False):
    """Open a connection and send half a body."""
    address = urllib.parse.urlsplit(api.emulator.url)
    connection = socket.create_connection((address.hostname, address.port))
    length = "Transfer-Encoding: chunked" if chunked else "Content-Length: 1000"
    body = b"f\r\n{}\n{}\n{}\n{}\n{}\n\r\n" if chunked else b"{}\n{}\n"
    head = (
        f"POST /v1/datamarts/3300/document_imports/{import_id}/executions HTTP/1.1\r\nHost: emulator\r\n"
        f"Authorization: {api.emulator.token}\r\nContent-Type: application/x-ndjson\r\n{length}\r\n\r\n"
    )
    connection.sendall(head.encode() + body)
    return connection


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_cut_short_makes_no_execution(api, chunked):
    import_id = api.create()
    with half_an_upload(api, import_id, chunked=chunked):
        under_way = wait_until(
            lambda: [one for one in api.emulator.requests() if one["body_bytes"] and not one["done"]]
        )
        assert under_way[0]["status"] is None
    entry = wait_until(lambda: [one for one in api.emulator.requests() if one["cut"]])[0]
    assert entry["cut"] == "client"
    assert entry["status"] is None
    assert 0 < entry["body_bytes"] < 1000
    api.emulator.clock.advance(60)
    assert api.emulator.executions(import_id) == []
    assert api.emulator.held() == {}


def test_a_body_whose_sender_dies_after_the_last_byte_does(api):
    """Nobody reads the answer, and the execution is there all the same."""
    import_id = api.create()
    with half_an_upload(api, import_id) as connection:
        connection.sendall(b" " * 993 + b"\n")
    wait_until(lambda: api.emulator.executions(import_id))


def test_an_upload_to_an_import_deleted_meanwhile_is_404(api):
    import_id = api.create()
    with half_an_upload(api, import_id) as connection:
        wait_until(lambda: [one for one in api.emulator.requests() if one["body_bytes"] and not one["done"]])
        assert api.imports("DELETE", f"/{import_id}").status_code == 200
        connection.sendall(b" " * 993 + b"\n")
        assert connection.recv(12) == b"HTTP/1.1 404"


def test_uploads_and_polls_side_by_side(api):
    api.emulator.settings(start_delay=0, run_seconds=0)
    import_id = api.create()
    bodies = [api.lines(*range(part * 1_000, part * 1_000 + 1_000)) for part in range(24)]
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        uploads = [threads.submit(api.uploaded, import_id, body) for body in bodies]
        polls = [threads.submit(api.imports, "GET", f"/{import_id}/executions") for _ in range(24)]
        ids = {upload.result() for upload in uploads}
        for poll in polls:
            for one in poll.result().json()["data"]:
                assert one["result"]["total_success"] == 1_000
    assert {one["id"] for one in api.emulator.executions(import_id)} == ids
    assert len(ids) == 24
    assert api.emulator.held_totals() == {
        "lines": 24_000,
        "different": 24_000,
        "more_than_once": 0,
        "executions": 24,
    }
