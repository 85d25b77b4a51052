"""Bad lines come back, are corrected and sent again, round after round; every line is accounted for over all rounds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException
from one_task import DyingStore, Killed, MemoryStore, Task, importing, profile
from resends import accounts, closes, fails, held, imported, mend, partly_failed, resending, write

from airflow_bulk.emulator.handle import Emulator


@pytest.mark.parametrize("layout", ["line_number", "identifier", "line"])
def test_failed_lines_are_sent_again(emulator: Emulator, task: Any, tmp_path: Path, layout: str) -> None:
    emulator.settings(error_file_layout=layout)
    write(tmp_path / "p.ndjson", 300)
    fails(emulator, every=50, times=1)
    first = imported(task, tmp_path / "p.ndjson", tmp_path / "bad")
    assert (first["lines_failed"], first["lines_unjoined"]) == (3, 0)
    result = task(resending(first)).run()
    assert closes(result, 300) == {"accepted": 300}
    assert held(emulator) == accounts(300)
    assert (result["lines_read"], result["round"], len(result["rounds"])) == (3, 1, 1)
    names = sorted(one["name"] for one in emulator.imports())
    assert names[1].startswith(f"profiles, resend 1 of {first['import_id']} [")
    left = [path.name for path in (tmp_path / "bad").iterdir() if not path.name.endswith("results.ndjson")]
    assert left == []  # neither a spool nor a reject file


def test_brackets_of_the_author_stay_in_the_name(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    write(tmp_path / "p.ndjson", 10)
    fails(emulator, every=5)
    first = imported(task, tmp_path / "p.ndjson", tmp_path / "bad", name="profiles [EU]")
    result = task(resending(first)).run()
    (made,) = [one["name"] for one in emulator.imports() if one["id"] == result["import_id"]]
    assert made.startswith(f"profiles [EU], resend 1 of {first['import_id']} [")


def test_rejected_and_failed_lines_are_mended_and_sent(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    write(tmp_path / "p.ndjson", 100, broken=(7, 60))
    fails(emulator, every=40)
    first = imported(task, tmp_path / "p.ndjson", tmp_path / "bad")
    assert (first["lines_rejected"], first["lines_failed"]) == (2, 2)
    only_failed = task(resending(first, max_failures="100%", on_clear="keep")).run()
    assert closes(only_failed, 100) == {"accepted": 98, "rejected": 2}
    result = task(resending(first, only="rejected", transform=mend, max_failures=2)).run()
    assert closes(result, 100) == {"accepted": 98, "failed": 2}
    assert held(emulator) == accounts(100)


def test_rounds_go_on_while_lines_fail(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    first = partly_failed(emulator, task, tmp_path, 300, every=3)
    fails(emulator, every=5, times=1)
    fails(emulator, every=4, times=1)
    result = task(resending(first, rounds=5)).run()
    assert closes(result, 300) == {"accepted": 300}
    assert held(emulator) == accounts(300)
    rounds = result["rounds"]
    assert [one["round"] for one in rounds] == list(range(1, len(rounds) + 1))
    assert 2 <= len(rounds) <= 4
    assert len({one["import_id"] for one in rounds}) == len(rounds)
    assert sum(one["lines_accepted"] for one in rounds) == first["lines_failed"]


def test_rounds_are_bounded_and_the_totals_are_judged(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    write(tmp_path / "p.ndjson", 60)
    fails(emulator, every=2, times=None)
    first = imported(task, tmp_path / "p.ndjson", tmp_path / "bad")
    one = task(resending(first, rounds=2, max_failures=1))
    with pytest.raises(
        AirflowFailException, match=r"after 2 rounds: 7 of 60 lines failed .*7 failed"
    ) as raised:
        one.run()
    assert "results.ndjson" in str(raised.value)
    assert len(emulator.imports()) == 3
    with pytest.raises(AirflowFailException, match="Recorded by try 1"):
        one.run()
    one.clear()
    one.make = resending(first, rounds=2, max_failures=7)
    assert closes(one.run(), 60) == {"accepted": 53, "failed": 7}
    assert len(emulator.imports()) == 3


def test_a_transform_leaves_lines_out(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    first = partly_failed(emulator, task, tmp_path, 90, every=30)
    result = task(resending(first, transform=lambda bad: bad.text if bad.line == 60 else None)).run()
    assert closes(result, 90) == {"accepted": 88, "dropped": 2}
    nothing = task(resending(first, transform=lambda bad: None)).run()
    assert closes(nothing, 90) == {"accepted": 87, "dropped": 3}
    assert nothing["import_id"] is None


def test_lines_that_are_not_known_are_sent_with_their_part(
    emulator: Emulator, task: Any, tmp_path: Path
) -> None:
    emulator.settings(error_file_layout="message")
    write(tmp_path / "p.ndjson", 100, broken=(3,))
    fails(emulator, every=25)
    first = imported(task, tmp_path / "p.ndjson", tmp_path / "bad")
    assert (first["lines_failed"], first["lines_unjoined"]) == (3, 3)
    left = task(resending(first, max_failures="100%")).run()
    assert (left["import_id"], closes(left, 100)) == (None, {"accepted": 96, "failed": 3, "rejected": 1})
    result = task(resending(first, whole_parts=True, max_failures=1)).run()
    assert closes(result, 100) == {"accepted": 99, "rejected": 1}
    assert result["lines_read"] == 99
    assert set(held(emulator)) == set(accounts(100)) - {"crm-3"}


def test_where_the_file_has_no_content_the_source_is_read(
    emulator: Emulator, task: Any, tmp_path: Path
) -> None:
    write(tmp_path / "p.ndjson", 200)
    fails(emulator, every=20)
    first = imported(task, tmp_path / "p.ndjson", tmp_path / "bad", rejects_content="position")
    fails(emulator, every=5)
    position = {"rejects_content": "position", "rounds": 2}
    assert closes(task(resending(first, **position)).run(), 200) == {"accepted": 200}
    assert held(emulator) == accounts(200)
    write(tmp_path / "p.ndjson", 201)
    with pytest.raises(Exception, match=r"p\.ndjson: has changed since its lines were sent"):
        task(resending(first, **position)).run()


def test_an_import_whose_lines_were_all_rejected(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    write(tmp_path / "p.ndjson", 3, broken=(1, 2, 3))
    first = imported(task, tmp_path / "p.ndjson", tmp_path / "bad")
    assert first["import_id"] is None
    mended = {"only": "rejected", "transform": mend}
    with pytest.raises(Exception, match="document_type"):
        task(resending(first, **mended)).run()
    result = task(resending(first, **mended, document_type="USER_PROFILE", name="mended")).run()
    assert closes(result, 3) == {"accepted": 3}
    assert held(emulator) == accounts(3)


def test_a_file_alone_is_enough_with_the_import(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    first = partly_failed(emulator, task, tmp_path, 50, every=10)
    with pytest.raises(Exception, match="import_id must name the import"):
        task(resending(first["results_uri"])).run()
    result = task(resending(first["results_uri"], import_id=first["import_id"])).run()
    assert closes(result, 5) == {"accepted": 5}
    for text in (str(first), json.dumps(first)):  # as a template renders it, as with the filter tojson
        assert closes(task(resending(text)).run(), 50) == {"accepted": 50}


@pytest.mark.parametrize(
    ("results", "more", "says"),
    [
        (
            {"lines_read": 5, "lines_failed": 1, "lines_accepted": 4, "import_id": "1"},
            {},
            "1 bad line but of no results file",
        ),
        ("{broken", {}, "results must be what an import returned"),
        (None, {}, "results must be what an import returned"),
        ("/f.ndjson", {"import_id": "1", "rounds": 21}, "rounds must be 20 at most"),
        ("/f.ndjson", {"import_id": "1", "transform": "name"}, "transform must be a function, not str"),
        ("/f.ndjson", {"import_id": "1", "only": "all"}, "only"),
    ],
)
def test_arguments_that_cannot_be_used(
    emulator: Emulator, task: Any, results: Any, more: dict[str, Any], says: str
) -> None:
    import_id = emulator.create_import() if hasattr(emulator, "create_import") else "1"
    if more.get("import_id"):
        more = {**more, "import_id": import_id}
    with pytest.raises(Exception, match=says):
        task(resending(results, **more)).run()
    assert not [call for call in emulator.requests() if call["method"] == "POST"]


@pytest.mark.parametrize("after", [False, True])
def test_killed_at_each_write_each_line_is_there_once(
    emulator: Emulator, task: type[Task], tmp_path: Path, after: bool
) -> None:
    write(tmp_path / "p.ndjson", 40)
    deaths = 0
    for at in range(1, 60):
        emulator.reset()
        emulator.settings(start_delay=0, run_seconds=0)
        fails(emulator, every=4)
        folder = tmp_path / f"bad{at}"
        first = imported(task, tmp_path / "p.ndjson", folder)
        fails(emulator, every=3)
        store: MemoryStore = DyingStore(at, after=after)
        again = task(resending(first, rounds=3), store)
        try:
            result = again.run()
        except Killed:
            deaths += 1
            result = again.run()
        else:
            assert deaths > 15
            break
        assert closes(result, 40) == {"accepted": 40}
        assert held(emulator) == accounts(40)
        assert [path.name for path in folder.iterdir() if "results" not in path.name] == []
    else:
        pytest.fail("it never lived to its end")


def test_no_line_gets_out(
    emulator: Emulator, task: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    canary = "canary-person"
    lines = [json.dumps({**json.loads(profile(n)), "user_account_id": f"{canary}-{n}"}) for n in range(50)]
    (tmp_path / "p.ndjson").write_text("\n".join(lines))
    fails(emulator, every=5)
    first = imported(task, tmp_path / "p.ndjson", tmp_path / "bad")
    fails(emulator, every=2)
    again = task(resending(first, rounds=2, transform=lambda bad: bad.text))
    result = again.run()
    everything = [
        *caplog.messages,
        json.dumps(result),
        *again.store.values.values(),
        json.dumps(again.pushed),
    ]
    assert canary not in "\n".join([*everything, json.dumps(again.shown), repr(again.operator)])

    def raises(bad: Any) -> Any:
        raise ValueError(bad.text)

    with pytest.raises(Exception, match="transform failed with ValueError") as raised:
        task(resending(first, transform=raises)).run()
    assert canary not in str(raised.value)


def test_a_clear_begins_with_the_first_round(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    first = partly_failed(emulator, task, tmp_path, 300, every=4)
    fails(emulator, every=5)
    again = task(resending(first, rounds=2))
    assert closes(again.run(), 300) == {"accepted": 300}
    again.clear()
    fails(emulator, every=2, times=None)
    with pytest.raises(AirflowFailException, match="after 2 rounds"):
        again.run()
    assert [one["name"].split(",")[1].split(" of")[0] for one in emulator.imports()[-2:]] == [
        " resend 1",
        " resend 2",
    ]


def test_a_part_whose_place_is_not_known_is_left(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    emulator.settings(error_file_layout="message")
    first = partly_failed(emulator, task, tmp_path, 100, every=10)
    rows = [json.loads(row) for row in Path(first["results_uri"]).read_text().splitlines()]
    for row in rows:
        row.pop("stretches", None)
    Path(first["results_uri"]).write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = task(resending(first, whole_parts=True, max_failures="100%")).run()
    assert (result["import_id"], closes(result, 100)) == (None, {"accepted": 90, "failed": 10})


def half_of(errors: Any) -> Any:
    """An error file reader that tells every second row."""
    import csv
    import io

    from airflow_bulk.documents.error_files import ErrorRow

    for number, row in enumerate(csv.DictReader(io.TextIOWrapper(errors, "utf-8"))):
        line = int(row["line_number"]) if number % 2 else None
        yield ErrorRow(line_number=line, message=row["message"])


def test_a_part_that_is_partly_known_is_sent_once(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    write(tmp_path / "p.ndjson", 100)
    fails(emulator, every=10)
    first = imported(task, tmp_path / "p.ndjson", tmp_path / "bad", error_file_reader=half_of)
    assert (first["lines_failed"], first["lines_unjoined"]) == (10, 5)
    result = task(resending(first, whole_parts=True, transform=mend)).run()
    assert (result["lines_read"], closes(result, 100)) == (100, {"accepted": 100})
    sent = [json.loads(line) for line in emulator.held(result["import_id"])]
    assert sorted(one["user_account_id"] for one in sent) == sorted(accounts(100))


def test_lines_that_were_not_chosen_can_be_sent_later(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    write(tmp_path / "p.ndjson", 100, broken=(7, 60))
    fails(emulator, every=40)
    first = imported(task, tmp_path / "p.ndjson", tmp_path / "bad")
    failed = task(resending(first, max_failures="100%", rejects_path=str(tmp_path / "second"))).run()
    assert closes(failed, 100) == {"accepted": 98, "rejected": 2}
    rows = [json.loads(row) for row in Path(failed["results_uri"]).read_text().splitlines()]
    assert [(row["state"], row["line"]) for row in rows] == [("rejected", 7), ("rejected", 60)]
    result = task(resending(failed, only="rejected", transform=mend)).run()
    assert closes(result, 100) == {"accepted": 100}
    assert held(emulator) == accounts(100)


@pytest.mark.parametrize("content", ["line", "position"])
def test_a_resend_of_a_resend(emulator: Emulator, task: Any, tmp_path: Path, content: str) -> None:
    write(tmp_path / "p.ndjson", 100)
    fails(emulator, every=10)
    first = imported(task, tmp_path / "p.ndjson", tmp_path / "bad", rejects_content=content)
    fails(emulator, every=2)
    second = task(resending(first, rejects_content=content, max_failures="100%", on_clear="keep"))
    result = second.run()
    second.clear()
    assert second.run()["totals"] == result["totals"]
    assert closes(task(resending(result, rejects_content=content)).run(), 100) == {"accepted": 100}


def test_nobody_has_waited_for_the_import(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    write(tmp_path / "p.ndjson", 10)
    unwaited = imported(task, tmp_path / "p.ndjson", tmp_path / "bad", wait_for_completion=False)
    checked = imported(task, tmp_path / "p.ndjson", tmp_path / "bad", dry_run=True)
    for result in (unwaited, checked):
        with pytest.raises(Exception, match="whose end was waited for"):
            task(resending(result)).run()


def test_what_json_cannot_hold(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    first = partly_failed(emulator, task, tmp_path, 10, every=5)
    with pytest.raises(Exception, match=r"cannot be written \(TypeError\) at .*p\.ndjson line 5"):
        task(resending(first, transform=lambda bad: {"x": object()})).run()


def test_an_import_that_failed_tells_its_results(emulator: Emulator, task: Any, tmp_path: Path) -> None:
    write(tmp_path / "p.ndjson", 100)
    fails(emulator, every=10)
    one = task(importing(tmp_path / "p.ndjson", rejects_path=str(tmp_path / "bad")))
    with pytest.raises(AirflowFailException, match="All bad lines"):
        one.run()
    result = task(resending(one.pushed["results"])).run()
    assert closes(result, 100) == {"accepted": 100}
    assert held(emulator) == accounts(100)


def test_a_night_that_brought_nothing(
    emulator: Emulator, task: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.ndjson").write_text("")
    empty = imported(task, tmp_path / "empty.ndjson", tmp_path / "bad", on_empty="ok")
    good = imported(task, tmp_path / "p.ndjson", tmp_path / "bad") if write(tmp_path / "p.ndjson", 3) else {}
    before = sorted(path.name for path in tmp_path.iterdir())
    assert closes(task(resending(empty)).run(), 0) == {}
    assert closes(task(resending(good)).run(), 3) == {"accepted": 3}
    assert sorted(path.name for path in tmp_path.iterdir()) == before  # no spool anywhere
