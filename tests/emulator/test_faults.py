"""Faults by name: what the caller sees, and what was done all the same."""

import socket
import urllib.parse

import pytest
import requests

from airflow_bulk.emulator.faults import KINDS
from airflow_bulk.emulator.handle import EmulatorError

LOST = requests.ConnectionError


@pytest.fixture
def emulator(bulk_emulator):
    bulk_emulator.clock.freeze()
    return bulk_emulator


@pytest.mark.parametrize("how", ["close", "reset"])
def test_lost_answer_acts_and_says_nothing(api, emulator, how):
    import_id = api.create()
    emulator.fault("lost_answer", times=1, how=how)
    with pytest.raises(LOST):
        api.upload(import_id, api.lines(1))
    assert len(emulator.executions(import_id)) == 1
    call = emulator.requests()[-1]
    assert (call["status"], call["cut"], call["faults"]) == (None, "fault", ["lost_answer"])
    assert api.upload(import_id, api.lines(2)).status_code == 200


def test_lost_answer_of_a_create_call(api, emulator):
    emulator.fault("lost_answer", path="/document_imports$", times=1)
    with pytest.raises(LOST):
        api.create(name="once")
    assert [one["name"] for one in emulator.imports()] == ["once"]


def test_late_shows_the_execution_only_later_and_dated_then(api, emulator):
    import_id = api.create()
    emulator.fault("late", times=1, seconds=8)
    with pytest.raises(LOST):
        api.upload(import_id, api.lines(1))
    then = emulator.clock.now() + 8_000
    assert emulator.executions(import_id) == []
    emulator.clock.advance(7.999)
    second = api.uploaded(import_id, api.lines(2))
    assert [one["id"] for one in emulator.executions(import_id)] == [second]
    emulator.clock.advance(0.001)
    found = api.imports("GET", f"/{import_id}/executions").json()["data"]
    assert len(found) == 2
    # Newest first: it is dated after the one that was sent before it showed.
    assert found[1]["id"] == second
    assert (found[0]["creation_date"], found[0]["status"]) == (then, "PENDING")
    emulator.clock.advance(1)
    assert emulator.held() == {api.profile(1): 1, api.profile(2): 1}


def test_a_late_execution_cannot_be_reached_before_it_shows(api, emulator):
    import_id = api.create()
    first = int(api.uploaded(import_id, api.lines(1)))
    emulator.fault("late", times=1, seconds=8)
    with pytest.raises(LOST):
        api.upload(import_id, api.lines(2))
    hidden = str(first + 1)
    api.error(api.imports("GET", f"/{import_id}/executions/{hidden}"), 404)
    api.error(api.cancel(import_id, hidden), 404)
    emulator.clock.advance(8)
    assert api.cancel(import_id, hidden).json()["data"]["status"] == "CANCELED"


def test_a_late_import(api, emulator):
    emulator.fault("late", path="/document_imports$", times=1, seconds=8)
    with pytest.raises(LOST):
        api.create()
    assert api.imports("GET").json()["total"] == 0
    emulator.clock.advance(8)
    assert api.imports("GET").json()["total"] == 1


def test_rate_limited_with_and_without_retry_after(api, emulator):
    emulator.fault("rate_limited", times=1, retry_after=7)
    answer = api.imports("GET")
    api.error(answer, 429)
    assert answer.headers["Retry-After"] == "7"
    emulator.fault("rate_limited", times=1, retry_after=None)
    assert "Retry-After" not in api.imports("GET").headers
    assert api.imports("GET").status_code == 200


@pytest.mark.parametrize(("when", "made"), [("before", 0), ("after", 1)])
@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_server_error_before_and_after_the_act(api, emulator, when, made, status):
    import_id = api.create()
    emulator.fault("server_error", times=1, status=status, when=when)
    api.error(api.upload(import_id, api.lines(1)), status)
    assert len(emulator.executions(import_id)) == made


@pytest.mark.parametrize(("when", "made"), [("before", 0), ("after", 1)])
def test_html_and_empty_answers(api, emulator, when, made):
    import_id = api.create()
    emulator.fault("html_answer", times=1, when=when)
    answer = api.upload(import_id, api.lines(1))
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert answer.text.startswith("<html>")
    assert answer.headers["X-Bulk-Emulator"] == "airflow-provider-bulk"
    emulator.fault("empty_answer", times=1, when=when)
    answer = api.upload(import_id, api.lines(1))
    assert (answer.status_code, answer.content) == (200, b"")
    assert len(emulator.executions(import_id)) == 2 * made


def test_half_answer_acts_and_breaks_off(api, emulator):
    import_id = api.create()
    emulator.fault("half_answer", times=1)
    with pytest.raises(requests.exceptions.RequestException):
        api.upload(import_id, api.lines(1))
    assert len(emulator.executions(import_id)) == 1


@pytest.mark.parametrize(
    ("name", "status"), [("unauthorized", 401), ("forbidden", 403), ("gone", 404), ("too_large", 413)]
)
def test_refusals_do_nothing(api, emulator, name, status):
    import_id = api.create()
    emulator.fault(name, times=1)
    api.error(api.upload(import_id, api.lines(1)), status)
    assert emulator.executions(import_id) == []
    assert emulator.requests()[-1]["body_bytes"] == len(api.lines(1))


def test_reset_is_a_tcp_reset_in_the_middle_of_the_body(api, emulator):
    import_id = api.create()
    emulator.fault("reset", times=1, after=1_000_000)
    address = urllib.parse.urlsplit(emulator.url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(
            f"POST /v1/datamarts/3300/document_imports/{import_id}/executions HTTP/1.1\r\nHost: emulator\r\n"
            f"Authorization: {emulator.token}\r\nContent-Type: application/x-ndjson\r\n"
            "Content-Length: 100000000\r\n\r\n".encode()
        )
        # BrokenPipeError would mean an orderly end before it.
        with pytest.raises(ConnectionResetError):
            for _ in range(1_000):
                connection.sendall(b"{}\n" * 33_333)
            connection.recv(1)
    assert emulator.executions(import_id) == []
    call = emulator.requests()[-1]
    assert call["cut"] == "fault"
    assert 1_000_000 <= call["body_bytes"] < 100_000_000


def test_reset_beyond_the_body_never_strikes(api, emulator):
    emulator.fault("reset", after=1_000_000)
    assert api.upload(api.create(), api.lines(1)).status_code == 200


def test_slow_holds_the_sender_back(api, emulator):
    """The body cannot be sent ahead of the reader by more than the buffers hold."""
    import_id = api.create()
    emulator.fault("slow", bytes_per_second=1_000)
    address = urllib.parse.urlsplit(emulator.url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.setblocking(False)
        head = (
            f"POST /v1/datamarts/3300/document_imports/{import_id}/executions HTTP/1.1\r\nHost: emulator\r\n"
            f"Authorization: {emulator.token}\r\nContent-Type: application/x-ndjson\r\n"
            "Content-Length: 100000000\r\n\r\n"
        )
        connection.send(head.encode())
        sent = 0
        with pytest.raises(BlockingIOError):
            while sent < 100_000_000:
                sent += connection.send(b"{}\n" * 33_333)
        assert sent < 20_000_000


def test_slow_reads_everything_in_the_end(api, emulator):
    import_id = api.create()
    emulator.fault("slow", bytes_per_second=100_000, answer_delay=0.01, times=1)
    body = api.lines(*range(400))
    assert api.upload(import_id, body).status_code == 200
    call = emulator.requests()[-1]
    assert (call["body_bytes"], call["faults"]) == (len(body), ["slow"])
    assert call["seconds"] >= len(body) / 100_000
    emulator.clock.advance(1)
    assert emulator.held_totals(import_id)["lines"] == 400


def test_stuck_running(api, emulator):
    import_id = api.create()
    emulator.fault("stuck_running", times=1)
    stuck, fine = api.uploaded(import_id, api.lines(1)), api.uploaded(import_id, api.lines(2))
    emulator.clock.advance(1_000_000)
    assert api.execution(import_id, fine)["status"] == "SUCCEEDED"
    shown = api.execution(import_id, stuck)
    assert (shown["status"], shown["result"]) == ("RUNNING", None)
    assert "end_date" not in shown
    assert emulator.change_execution(stuck, fate="succeeded")["status"] == "SUCCEEDED"


@pytest.mark.parametrize(("name", "status"), [("forced_failed", "FAILED"), ("lost_status", "LOST")])
@pytest.mark.parametrize(("taken", "held"), [(1.0, 4), (0.5, 2), (0, 0)])
def test_failed_and_lost_may_have_taken_lines(api, emulator, name, status, taken, held):
    import_id = api.create()
    emulator.fault(name, times=1, taken=taken)
    execution_id = api.uploaded(import_id, api.lines(1, 2) + b"bad\n" + api.lines(3, 4))
    emulator.clock.advance(1)
    execution = api.execution(import_id, execution_id)
    assert (execution["status"], execution["result"]) == (status, None)
    assert execution["parameters"]["number_of_lines"] == 5
    assert (execution["error"] is None) == (status == "LOST")
    assert "end_date" in execution
    assert emulator.held().total() == held


@pytest.mark.parametrize(("by", "said"), [(-1, 2), (4, 7), (-9, 0)])
def test_miscount(api, emulator, by, said):
    import_id = api.create()
    emulator.fault("miscount", times=1, by=by)
    wrong, right = api.uploaded(import_id, api.lines(1, 2, 3)), api.uploaded(import_id, api.lines(4))
    emulator.clock.advance(1)
    shown = api.execution(import_id, wrong)
    assert (shown["result"]["total_success"], shown["completed_tasks"]) == (said, said)
    assert (shown["result"]["total_failure"], shown["parameters"]["number_of_lines"]) == (0, 3)
    assert api.execution(import_id, right)["result"]["total_success"] == 1
    assert emulator.held_totals(import_id)["lines"] == 4


def test_unknown_status(api, emulator):
    import_id = api.create()
    execution_id = api.uploaded(import_id, api.lines(1))
    emulator.fault("unknown_status", times=2)
    assert api.execution(import_id, execution_id)["status"] == "HIBERNATING"
    listed = api.imports("GET", f"/{import_id}/executions").json()
    assert [one["status"] for one in listed["data"]] == ["HIBERNATING"]
    assert api.execution(import_id, execution_id)["status"] == "PENDING"
    emulator.clock.advance(1)
    emulator.fault("unknown_status", times=1)
    assert api.execution(import_id, execution_id)["status"] == "SUCCEEDED"
    emulator.fault("unknown_status", times=1, status="SUCCESS", over=True)
    assert api.execution(import_id, execution_id)["status"] == "SUCCESS"


@pytest.mark.parametrize("status", [200, 204])
def test_empty_delete(api, emulator, status):
    import_id = api.create()
    emulator.fault("empty_delete", status=status)
    answer = api.imports("DELETE", f"/{import_id}")
    assert (answer.status_code, answer.content) == (status, b"")
    assert emulator.imports() == []
    # A DELETE that failed still says why.
    api.error(api.imports("DELETE", f"/{import_id}"), 404)


def test_missing_total(api, emulator):
    import_id = api.create()
    emulator.fault("missing_total")
    assert "total" not in api.imports("GET").json()
    listed = api.imports("GET", f"/{import_id}/executions").json()
    assert set(listed) == {"status", "data", "count", "first_result", "max_result", "max_results"}


def test_refuse_cancel(api, emulator):
    import_id = api.create()
    execution_id = api.uploaded(import_id, api.lines(1))
    emulator.fault("refuse_cancel", times=1)
    api.error(api.cancel(import_id, execution_id), 400)
    emulator.fault("refuse_cancel", times=1, status=200)
    assert api.cancel(import_id, execution_id).json()["data"]["status"] == "PENDING"
    assert api.cancel(import_id, execution_id).json()["data"]["status"] == "CANCELED"


def test_refuse_cancel_because_it_starts_just_then(api, emulator):
    import_id = api.create()
    execution_id = api.uploaded(import_id, api.lines(1))
    emulator.fault("refuse_cancel", start=True)
    assert "RUNNING" in api.error(api.cancel(import_id, execution_id), 400)
    assert emulator.held(import_id) == {api.profile(1): 1}


def test_two_faults_can_strike_together(api, emulator):
    import_id = api.create()
    emulator.fault("forced_failed", times=1)
    emulator.fault("lost_answer", times=1)
    with pytest.raises(LOST):
        api.upload(import_id, api.lines(1))
    emulator.clock.advance(1)
    assert [one["status"] for one in emulator.executions(import_id)] == ["FAILED"]


def test_skip_times_method_and_path(api, emulator):
    emulator.fault("gone", method="get", path="/document_imports$", skip=2, times=1)
    assert [api.imports("GET").status_code for _ in range(4)] == [200, 200, 404, 200]
    emulator.fault("gone", path="/nowhere")
    assert api.imports("GET").status_code == 200
    emulator.clear_faults()
    assert emulator.control("GET", "/faults") == []


def test_one_fault_can_be_taken_back(api, emulator):
    first = emulator.fault("gone")
    second = emulator.fault("forbidden")
    api.error(api.imports("GET"), 404)
    emulator.control("DELETE", f"/faults/{first}")
    api.error(api.imports("GET"), 403)
    emulator.control("DELETE", f"/faults/{second}")
    assert api.imports("GET").status_code == 200
    with pytest.raises(EmulatorError, match="404"):
        emulator.control("DELETE", f"/faults/{second}")


def test_probability(api, emulator):
    emulator.fault("gone", probability=0.5)
    answers = {api.imports("GET").status_code for _ in range(100)}
    assert answers == {200, 404}
    emulator.clear_faults()
    emulator.fault("gone", probability=0)
    assert {api.imports("GET").status_code for _ in range(20)} == {200}


def test_faults_never_strike_the_control_endpoints(emulator):
    emulator.fault("server_error")
    assert emulator.imports() == []


@pytest.mark.parametrize(
    ("name", "options", "word"),
    [
        ("loss", {}, "lost_answer"),
        ("late", {"second": 3}, "seconds"),
        ("late", {"seconds": "soon"}, "seconds"),
        ("late", {"seconds": -1}, "seconds"),
        ("lost_answer", {"how": "softly"}, "close or reset"),
        ("server_error", {"when": "later"}, "before or after"),
        ("refuse_cancel", {"start": 1}, "start"),
        ("gone", {"probability": 2}, "probability"),
        ("gone", {"times": -1}, "times"),
        ("gone", {"skip": 0.5}, "skip"),
        ("gone", {"path": "("}, "regular expression"),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(emulator, name, options, word):
    with pytest.raises(EmulatorError, match=word):
        emulator.fault(name, **options)
    assert emulator.control("GET", "/faults") == []


def test_every_fault_can_be_asked_for_and_is_listed(emulator):
    for name in KINDS:
        emulator.fault(name)
    assert [fault["name"] for fault in emulator.control("GET", "/faults")] == list(KINDS)
    assert set(emulator.control("GET", "")["faults"]) == set(KINDS)
