"""What ``make demo`` calls a success, and what it does not."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from run import LEAST_PARTS, PURCHASES, DemoError, faults, own_folder

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
