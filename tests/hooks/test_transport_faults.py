"""The emulator's faults, each through ``send`` and ``asend``: both must come to the same end by the same requests."""

from __future__ import annotations

import dataclasses
import re
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.platforms.mediarithmics import document_import_calls as calls
from both_ways import WAYS, Connected, Outcome, by_send, outcomes

DATAMART = "3300"
LIST = calls.list_document_imports(DATAMART)
CREATE = calls.create_document_import(
    DATAMART,
    {"document_type": "USER_PROFILE", "mime_type": "APPLICATION_X_NDJSON", "encoding": "utf-8", "name": "n"},
)


@dataclasses.dataclass(frozen=True)
class Case:
    """A fault, and what must come of it.

    :param attempts: the status of each request; None where the connection ended without an answer. An answer
        that came too late for us is one to the server.
    :param kind: the error; None for a good end.
    :param done: how many imports there are afterwards.
    :param told: must be in the message.
    """

    call: Any
    fault: str
    attempts: tuple[int | None, ...]
    kind: str | None = None
    told: str = ""
    done: int = 0
    tries: int = 2
    hook: dict[str, Any] = dataclasses.field(default_factory=dict)
    params: dict[str, Any] = dataclasses.field(default_factory=dict)


def case(name: str, *values: Any, **more: Any) -> Any:
    fields = {field.name for field in dataclasses.fields(Case)}
    params = {key: value for key, value in more.items() if key not in fields}
    own = {key: value for key, value in more.items() if key in fields}
    return pytest.param(Case(*values, params=params, **own), id=name)


ASKS = "A retry asks again"
LOOKS = "A retry looks at the platform first and does not repeat what was carried out"
CASES = [
    # A call that may be repeated is.
    case("get, 429 once", LIST, "rate_limited", (429, 200), times=1, retry_after=0),
    case("get, 429 once, no Retry-After", LIST, "rate_limited", (429, 200), times=1, retry_after=None),
    case("get, 429 always", LIST, "rate_limited", (429, 429), "TryLater", ASKS, retry_after=0),
    case(
        "get, 429 for a day",
        LIST,
        "rate_limited",
        (429,),
        "TryLater",
        f"429.*and asks to wait 86400 s. {ASKS}.*Let it come later than that, by the task's retry_delay",
        tries=5,
        retry_after=86_400,
    ),
    case(
        "get, 429 for a while",
        LIST,
        "rate_limited",
        (429,),
        "TryLater",
        f"429.*and asks to wait 7 s. {ASKS}; nothing that was recorded is repeated.$",
        tries=1,
        retry_after=7,
    ),
    case(
        "get, 429 always, no Retry-After",
        LIST,
        "rate_limited",
        (429,),
        "TryLater",
        f"429.*and does not say how long to wait. {ASKS}",
        tries=1,
        retry_after=None,
    ),
    *(
        case(f"get, {status} once", LIST, "server_error", (status, 200), times=1, status=status)
        for status in (500, 502, 503, 504)
    ),
    case("get, 503 always", LIST, "server_error", (503, 503), "TryLater", f"503 .*{ASKS}", status=503),
    case("get, 501", LIST, "server_error", (501,), "TryLater", "501", status=501),
    case("get, lost answer once", LIST, "lost_answer", (None, 200), times=1, method="GET"),
    case("get, reset once", LIST, "lost_answer", (None, 200), times=1, method="GET", how="reset"),
    case(
        "get, lost always", LIST, "lost_answer", (None, None), "TryLater", "no answer from http", method="GET"
    ),
    case("get, half an answer once", LIST, "half_answer", (None, 200), times=1, method="GET"),
    case("get, slow once", LIST, "slow", (200, 200), times=1, answer_delay=3.0, hook={"read_timeout": 0.5}),
    case("get, HTML once", LIST, "html_answer", (200, 200), times=1),
    case(
        "get, HTML always", LIST, "html_answer", (200, 200), "TryLater", "bytes of text/html. cannot be read"
    ),
    case("get, empty always", LIST, "empty_answer", (200, 200), "TryLater", "0 bytes of no content type"),
    case("get, HTML with 502", LIST, "html_answer", (502, 200), times=1, status=502),
    # One that creates is repeated only when it was certainly not carried out.
    case("post, 429 once", CREATE, "rate_limited", (429, 200), done=1, times=1, retry_after=0),
    case("post, 429 always", CREATE, "rate_limited", (429, 429), "TryLater", ASKS, retry_after=0),
    case("post, 503 before", CREATE, "server_error", (503,), "FateUnknown", LOOKS, status=503),
    case(
        "post, 503 after", CREATE, "server_error", (503,), "FateUnknown", LOOKS, 1, status=503, when="after"
    ),
    case("post, lost answer", CREATE, "lost_answer", (None,), "FateUnknown", LOOKS, 1),
    case("post, lost answer by reset", CREATE, "lost_answer", (None,), "FateUnknown", LOOKS, 1, how="reset"),
    case("post, reset in the body", CREATE, "reset", (None,), "FateUnknown", LOOKS, path=".*"),
    case("post, half an answer", CREATE, "half_answer", (None,), "FateUnknown", LOOKS, 1),
    case("post, HTML", CREATE, "html_answer", (200,), "FateUnknown", "unknown whether it was done", 1),
    case("post, HTML before", CREATE, "html_answer", (200,), "FateUnknown", LOOKS, when="before"),
    case("post, empty", CREATE, "empty_answer", (200,), "FateUnknown", LOOKS, 1),
    case(
        "post, slow",
        CREATE,
        "slow",
        (200,),
        "FateUnknown",
        LOOKS,
        1,
        answer_delay=3.0,
        hook={"read_timeout": 0.5},
    ),
    # What no repeating mends is not repeated.
    *(
        case(f"{name}, {fault}", call, fault, (status,), kind, told, method=name.upper(), path=".*")
        for name, call in (("get", LIST), ("post", CREATE))
        for fault, status, kind, told in (
            ("unauthorized", 401, "Unauthorized", "401 .*does not accept the API token .*Renew"),
            (
                "forbidden",
                403,
                "Forbidden",
                "403 .*no right on this object goes with it. A retry cannot help until",
            ),
            ("gone", 404, "NotFound", "404, no such object .*A retry cannot help: check the id"),
            ("too_large", 413, "Refused", "413 .*A retry cannot help"),
        )
    ),
]


@pytest.mark.parametrize("wanted", CASES)
def test_both_ways_come_to_the_same_end(bulk_emulator: Emulator, connected: Connected, wanted: Case) -> None:
    def prepare() -> None:
        bulk_emulator.fault(wanted.fault, **wanted.params)

    found: list[Outcome] = []
    for outcome in outcomes(
        bulk_emulator, connected, wanted.call, prepare, tries=wanted.tries, hook=wanted.hook
    ):
        bulk_emulator.clear_faults()
        assert len(bulk_emulator.imports()) == wanted.done
        found.append(outcome)
    for outcome in found:
        assert outcome.kind == wanted.kind
        assert outcome.attempts == wanted.attempts
        if wanted.kind is not None:
            assert re.search(wanted.told, outcome.message), outcome.message
            assert wanted.call.what in outcome.message
            assert bulk_emulator.token not in outcome.message
    sync, on_the_loop = found
    assert sync.message == on_the_loop.message
    assert (sync.status, sync.retry_after) == (on_the_loop.status, on_the_loop.retry_after)
    assert type(sync.record) is type(on_the_loop.record)


def test_five_tries_and_no_more(bulk_emulator: Emulator, connected: Connected) -> None:
    bulk_emulator.fault("server_error", path="/document_imports$")
    found: list[Outcome] = []
    threads = [
        threading.Thread(target=lambda way=way: found.append(way(connected.hook(), LIST))) for way in WAYS
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one.kind for one in found] == ["TryLater", "TryLater"]
    assert len(bulk_emulator.requests()) == 10


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("call", [LIST, CREATE], ids=["get", "post"])
def test_no_connection_is_no_riddle(
    bulk_emulator: Emulator, connected: Connected, way: Callable[..., Outcome], call: Any
) -> None:
    # Nothing arrived, so nobody has to look first; and it is worth another try.
    outcome = way(connected.hook(host="http://127.0.0.1:1"), call, tries=2)
    assert outcome.kind == "TryLater"
    assert "there was no connection, so nothing was sent. A retry asks again" in outcome.message


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("retry_after", "said"), [(1, "and asks to wait 1 s"), (None, "and does not say how long to wait")]
)
def test_the_log_tells_what_a_429_asks_for(
    bulk_emulator: Emulator,
    connected: Connected,
    way: Callable[..., Outcome],
    caplog: pytest.LogCaptureFixture,
    retry_after: int | None,
    said: str,
) -> None:
    caplog.set_level("INFO", logger="airflow_bulk.hooks.transport")
    bulk_emulator.fault("rate_limited", retry_after=retry_after, times=1)
    assert way(connected.hook(), LIST).kind is None
    assert f"{said}. Again in " in caplog.text


@pytest.mark.parametrize("way", WAYS)
def test_a_day_of_silence_is_kept_for_the_whole_connection(
    bulk_emulator: Emulator, connected: Connected, way: Callable[..., Outcome]
) -> None:
    hook = connected.hook()
    bulk_emulator.fault("rate_limited", retry_after=86_400, times=1)
    first = way(hook, LIST)
    # Another hook of the same connection, another call: it does not even leave.
    second = way(type(hook)(hook.conn_id), CREATE)
    assert (first.kind, second.kind) == ("TryLater", "TryLater")
    assert "no call may leave for another" in second.message
    assert second.message.endswith("Let it come later than that, by the task's retry_delay.")
    assert second.retry_after is not None and second.retry_after > 3000
    assert len(bulk_emulator.requests()) == 1
    # Another connection is not concerned.
    assert way(connected.hook(), LIST).kind is None


@pytest.mark.parametrize("way", WAYS)
def test_whoever_has_little_time_leaves_before_those_who_wait(
    bulk_emulator: Emulator, connected: Connected, way: Callable[..., Outcome]
) -> None:
    # on_kill has seconds, and what was stopped must not go on because others use up the rate.
    hook = connected.hook(requests_per_minute=1)
    assert by_send(hook, LIST).kind is None
    assert way(type(hook)(hook.conn_id), LIST, timeout=2).kind is None
    assert len(bulk_emulator.requests()) == 2
    # It has taken its place all the same: who comes next waits for both.
    assert hook.budget.reserve(patience=1).wait > 100


@pytest.mark.parametrize("way", WAYS)
def test_whoever_has_little_time_does_not_wait_for_the_end_of_a_silence(
    bulk_emulator: Emulator, connected: Connected, way: Callable[..., Outcome]
) -> None:
    hook = connected.hook(requests_per_minute=60)
    hook.budget.retry_after(100)
    assert way(type(hook)(hook.conn_id), LIST, timeout=2).kind == "TryLater"
    assert bulk_emulator.requests() == []


def test_a_call_sleeps_once_for_a_silence_that_comes_while_it_waits(
    bulk_emulator: Emulator, connected: Connected
) -> None:
    hook = connected.hook(requests_per_minute=60)
    for _ in range(3):
        hook.budget.reserve()
    began = time.monotonic()
    waiting = threading.Thread(target=hook.send, args=(LIST,))
    waiting.start()
    time.sleep(0.2)
    hook.budget.retry_after(4)
    ends = time.monotonic() + 4
    waiting.join(60)
    assert len(bulk_emulator.requests()) == 1
    assert time.monotonic() >= ends
    # Another sleep would be as long as the first one again.
    assert time.monotonic() - began < 2 * 4
