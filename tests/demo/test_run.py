"""What ``make demo`` calls a success, and what it does not."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk._shared.secrets_masker import SecretsMasker

from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.hooks.extract_load import ExtractLoadHook
from airflow_bulk.hooks.mediarithmics import MediarithmicsHook
from run import (
    EXAMPLES,
    LEAST_PARTS,
    PAGE_DAG_ID,
    PURCHASES,
    RUNNING_DAG_ID,
    DemoError,
    connections,
    examples,
    faults,
    own_folder,
)

LINES = Counter(str(number) for number in range(PURCHASES))


def result(**changes: Any) -> dict[str, Any]:
    whole = {
        "lines_read": PURCHASES,
        "lines_rejected": 0,
        "lines_accepted": PURCHASES,
        "lines_failed": 0,
        "parts": LEAST_PARTS,
    }
    return whole | changes


def test_every_line_once_is_a_success() -> None:
    assert faults(result(), LINES, Counter(LINES)) == []


@pytest.mark.parametrize(
    ("outcome", "held", "told"),
    [
        (result(), LINES - Counter(["7"]), "1 lines are missing"),
        (result(), LINES + Counter(["7", "8"]), "2 are there that should not be"),
        (
            result(),
            LINES - Counter(["7"]) + Counter(["another"]),
            "1 lines are missing on the platform, 1 are there",
        ),
        (result(lines_accepted=PURCHASES - 1), LINES, "the sum does not close"),
        (result(parts=LEAST_PARTS - 1), LINES, "3 parts"),
    ],
)
def test_anything_else_is_told(outcome: dict[str, Any], held: Counter[str], told: str) -> None:
    (fault,) = faults(outcome, LINES, held)
    assert told in fault


def test_fewer_purchases_are_not_the_demo() -> None:
    few = Counter(["1"])
    assert faults(result(), few, Counter(few)) == [f"1 lines were written, not {PURCHASES:,}"]


def test_a_second_demo_in_the_checkout_is_refused(tmp_path: Path) -> None:
    with own_folder(tmp_path / ".demo") as folder:
        (folder / "left").touch()
        with pytest.raises(DemoError, match="another demo"), own_folder(tmp_path / ".demo"):
            pass
        assert (folder / "left").exists()
    with own_folder(tmp_path / ".demo") as folder:
        assert list(folder.iterdir()) == []


def needed(example: Path) -> set[str]:
    """The connections that an example's text says it needs; what is no connection's id there is left out."""
    text = ast.get_docstring(ast.parse(example.read_text(encoding="utf-8"))) or ""
    _, said, rest = text.partition("Needs the connection")
    assert said, f"{example.name} does not say which connections it needs"
    return set(re.findall(r"`(\w+_(?:crm|default|source|warehouse|postgres|webhook))`", rest))


def test_exactly_the_examples_that_run_on_the_emulator_are_shown(
    repository: Path, bulk_emulator: Emulator
) -> None:
    there = set(connections(bulk_emulator))
    runnable = {one.name for one in (repository / "dags").glob("[!_]*.py") if needed(one) <= there}
    assert runnable == set(EXAMPLES)


def test_airflow_finds_the_shown_examples_and_what_they_read(tmp_path: Path) -> None:
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(str(shown := examples(tmp_path)), bundle_path=shown)
    assert bag.import_errors == {}
    assert set(bag.dags) == {
        "accounting_refresh", "batch_around_import", "batch_around_import_deferred", "spread_import", "store_purchases",
        PAGE_DAG_ID, RUNNING_DAG_ID,
    }  # fmt: skip
    assert (shown / "data" / "cdnow_purchases.txt.gz").is_file()


def test_no_connection_makes_airflow_warn_of_a_short_secret(
    bulk_emulator: Emulator, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for conn_id, value in connections(bulk_emulator).items():
        # Airflow warns once a process.
        monkeypatch.setattr(SecretsMasker, "_has_warned_short_secret", False)
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", value)
        hook = (MediarithmicsHook if conn_id == "mediarithmics_default" else ExtractLoadHook)(conn_id)
        hook.prepare()
        hook.close()
        assert hook.text("datamart_id" if conn_id == "mediarithmics_default" else "realm").isdigit()
    assert "too short" not in caplog.text
