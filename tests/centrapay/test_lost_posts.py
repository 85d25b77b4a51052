"""A batch is posted once: where an answer was lost or a try died, the task says so and posts nothing again."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException
from loading import accounts, loading, loads, posts
from one_task import DyingStore, Killed, MemoryStore

from airflow_bulk.hooks.limits import rate

TELLS = (
    r"a batch may exist.*get_asset_by_external_id\('farmlands.nzd.main', externalId\).*repeat_lost_post=True"
)


def test_killed_at_every_write(centrapay: Any, files: Any, task: Any) -> None:
    """Whatever write a try dies at: never a second POST, and either the result or the words that say what to do."""
    url = files.put("/a.jsonl", accounts(3))
    ended = {"result": 0, "told": 0}
    for at, after in ((at, after) for at in itertools.count(1) for after in (False, True)):
        centrapay.emulator.reset()
        centrapay.settings(step_seconds=0)
        one = task(loading(url=url), DyingStore(at, after=after))
        try:
            one.run()
        except Killed:
            before = posts(centrapay)
            try:
                assert one.run()["lines_accepted"] == 3
                ended["result"] += 1
            except AirflowException as error:
                with pytest.raises(AirflowException, match=TELLS):
                    raise error from None
                ended["told"] += 1
                assert posts(centrapay) == before
            assert len(centrapay.batches()) <= 1 and posts(centrapay) <= 1
        else:
            break
    # Without a doubt before the intent (what it works on, and two times at which the clock starts) and after the id; in doubt between the two.
    assert ended == {"result": 10, "told": 2}, ended


def test_a_crash_after_the_post(centrapay: Any, files: Any, task: Any) -> None:
    """The store refuses the id, as for a try that was killed right after the POST."""
    store = DyingStore(5, after=False)
    one = task(loading(url=files.put("/a.jsonl", accounts(3))), store)
    with pytest.raises(Killed):
        one.run()
    assert posts(centrapay) == len(centrapay.batches()) == 1
    for _ in range(2):
        with pytest.raises(AirflowException, match=TELLS):
            one.run()
    assert posts(centrapay) == 1 and loads(centrapay) == {1}


FAULTS = [
    {"name": "lost_answer"},
    {"name": "lost_answer", "how": "reset"},
    {"name": "half_answer"},
    {"name": "server_error", "status": 500, "when": "after"},
    {"name": "server_error", "status": 503, "when": "before"},
    {"name": "html_answer", "method": "POST"},
    {"name": "empty_answer", "method": "POST"},
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: "-".join(str(v) for v in fault.values()))
def test_a_lost_answer(centrapay: Any, files: Any, task: Any, fault: dict[str, Any]) -> None:
    centrapay.emulator.fault(**{"path": "^/api/batches$", "method": "POST", "times": 1, **fault})
    one = task(loading(url=files.put("/a.jsonl", accounts(3))))
    for _ in range(2):
        with pytest.raises(AirflowException, match=TELLS):
            one.run()
    assert posts(centrapay) == 1


def test_repeating_is_an_explicit_choice(
    centrapay: Any, files: Any, task: Any, caplog: pytest.LogCaptureFixture
) -> None:
    centrapay.emulator.fault("lost_answer", path="^/api/batches$", method="POST", times=2)
    one = task(loading(url=files.put("/a.jsonl", accounts(3)), repeat_lost_post=True))
    for number in (1, 2):
        with pytest.raises(AirflowException, match="a batch may exist"):
            one.run()
        assert posts(centrapay) == number  # never twice within one try
    assert one.run()["lines_accepted"] == 3
    assert loads(centrapay) == {3}
    assert "the file may be loaded twice" in caplog.text


def test_other_types_have_no_read_that_tells(centrapay: Any, files: Any, task: Any) -> None:
    centrapay.emulator.fault("lost_answer", path="^/api/batches$", method="POST", times=1)
    one = task(loading(type="ticketek-ticket", url=files.put("/a.jsonl", "{}\n")))
    with pytest.raises(AirflowException, match="No read is documented that tells for this type"):
        one.run()


@pytest.mark.parametrize(
    "fault",
    [{"name": "rate_limited", "retry_after": 200}, {"name": "unauthorized"}, {"name": "forbidden"}],
    ids=lambda fault: fault["name"],
)
def test_a_post_that_was_certainly_not_carried_out(
    centrapay: Any,
    files: Any,
    task: Any,
    fault: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Then a later try posts without a doubt."""
    centrapay.emulator.fault(path="^/api/batches$", method="POST", times=1, **fault)
    one = task(loading(url=files.put("/a.jsonl", accounts(3))))
    with pytest.raises(AirflowException, match=r"429|401|403"):
        one.run()
    assert centrapay.batches() == []
    if fault["name"] == "rate_limited":
        # No process of this machine asks the account before the silence is over.
        with pytest.raises(AirflowException, match="no call may leave for another"):
            one.run()
        assert posts(centrapay) == 1
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        rate._budgets.clear()
    assert one.run()["lines_accepted"] == 3
    assert posts(centrapay) == 2 and loads(centrapay) == {1}


def test_nobody_there_and_then_somebody(
    centrapay: Any, files: Any, task: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import json

    from airflow_bulk.emulator.centrapay_handle import ACCOUNT

    connection = json.loads(centrapay.connection_json(account_id=ACCOUNT))
    name = "AIRFLOW_CONN_CENTRAPAY_DEFAULT"
    monkeypatch.setenv(name, json.dumps({**connection, "host": "http://127.0.0.1:9"}))
    one = task(loading(url=files.put("/a.jsonl", accounts(3))))
    with pytest.raises(AirflowException, match="no connection, so nothing was sent"):
        one.run()
    monkeypatch.setenv(name, json.dumps(connection))
    assert one.run()["lines_accepted"] == 3
    assert posts(centrapay) == 1


def test_a_superseded_try_posts_nothing(centrapay: Any, files: Any, task: Any) -> None:
    store = MemoryStore()
    one = task(loading(url=files.put("/a.jsonl", accounts(3))), store)
    store.refused = True
    with pytest.raises(AirflowException, match="a newer try exists"):
        one.run()
    assert posts(centrapay) == 0
