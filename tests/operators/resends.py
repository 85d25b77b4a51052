"""An import with bad lines and the resend of them, as the tests of resends have them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from one_task import importing, profile

from airflow_bulk.emulator.handle import Emulator

FATES = ("lines_accepted", "lines_rejected", "lines_failed", "lines_unprocessed", "lines_dropped")
BROKEN = '{"operation":"UPSERT"}'


def write(path: Path, count: int, broken: tuple[int, ...] = ()) -> list[str]:
    lines = [profile(n) if n not in broken else BROKEN for n in range(1, count + 1)]
    path.write_text("\n".join(lines) + "\n")
    return lines


def fails(emulator: Emulator, every: int, times: int | None = 1, **more: Any) -> None:
    emulator.fault("failing_lines", every=every, times=times, **more)


def imported(task: Any, source: Path, folder: Path, **more: Any) -> dict[str, Any]:
    options = {"rejects_path": str(folder), "max_failures": "100%", **more}
    result: dict[str, Any] = task(importing(source, **options)).run()
    return result


def failing_import(emulator: Emulator, task: Any, folder: Path, count: int, *, every: int) -> Any:
    """The task of an import of so many good lines, of which the platform fails every so-many-th."""
    write(folder / "p.ndjson", count)
    fails(emulator, every=every)
    return task(importing(folder / "p.ndjson", rejects_path=str(folder / "bad"), max_failures="100%"))


def partly_failed(emulator: Emulator, task: Any, folder: Path, count: int, *, every: int) -> dict[str, Any]:
    """What such an import returns."""
    result: dict[str, Any] = failing_import(emulator, task, folder, count, every=every).run()
    return result


def resending(results: Any, **more: Any) -> Any:
    from airflow_bulk.operators.document_import import SendingOptions
    from airflow_bulk.operators.resend_lines import ResendLinesOperator

    options = {"sending": SendingOptions(max_part_bytes=20_000, settle=0.2), "poll_interval": 0.2, **more}
    return lambda: ResendLinesOperator(task_id="t", results=results, **options)


def held(emulator: Emulator) -> Counter[str]:
    """What the platform holds, by account, over all imports."""
    every: Counter[str] = Counter()
    for one in emulator.imports():
        for line, count in emulator.held(one["id"]).items():
            every[json.loads(line)["user_account_id"]] += count
    return every


def accounts(count: int) -> Counter[str]:
    return Counter({f"crm-{n}": 1 for n in range(1, count + 1)})


def closes(result: dict[str, Any], read: int) -> dict[str, int]:
    totals = result["totals"]
    assert totals["lines_read"] == read == sum(totals[fate] for fate in FATES)
    return {fate.removeprefix("lines_"): totals[fate] for fate in FATES if totals[fate]}


def mend(bad: Any) -> dict[str, Any] | None:
    if bad.state == "rejected":
        return json.loads(profile(bad.line))
    return {**bad.record, "user_profile": {"mended": True}}
