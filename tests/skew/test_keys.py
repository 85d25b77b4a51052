"""Names that a stored record, a stored trigger or an XCom value has: none is renamed or taken away without a fall-back.

The other tests here go on from stored samples, and so prove the fall-back. This one names what is gone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from saved_world import Contents
from stored import samples, versions
from taking import Taking, kinds

#: What an older version has written and this one no longer does, and the test that shows what becomes of it:
#: ``"record g*.started.max_tries": "tests/skew/test_records.py"``.
GONE: dict[str, str] = {}
#: Ids and hashes: keys of dictionaries that are no names.
ID = re.compile(r"\d{3,}|[0-9a-f]{12,}|[0-9A-Za-z]{22}")


def names(value: Any, place: str) -> Iterator[str]:
    """Every name in a value, with those before it; of a row in a list, which has no names, how long it is."""
    yield place
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from names(inner, f"{place}.{ID.sub('*', key)}")
    elif isinstance(value, list) and value and all(isinstance(one, list) for one in value):
        yield from {f"{place}[] of {len(one)}" for one in value}
    elif isinstance(value, list):
        for one in value:
            yield from names(one, f"{place}[]")


def names_of(sample: dict[str, Any]) -> set[str]:
    """The names of everything in a sample that another try, another process or another task reads."""
    found = set(names(_numbered(sample["state"]), "record"))
    found |= set(names(sample["xcom"], "xcom")) | set(names(sample["shown"], "shown"))
    found |= set(names(_numbered(sample["files"] or {}), "files"))
    if "result" in sample:
        found |= set(names(sample["result"], "result"))
    if "trigger" in sample:
        path, arguments = sample["trigger"]
        found |= {f"trigger {path}({name})" for name in arguments} | set(names(sample["event"], "event"))
    return found


def _numbered(state: dict[str, Any]) -> dict[str, Any]:
    """The keys of a store without the numbers of generations and pages, and without the hash of a task."""
    return {re.sub(r"\b(g?)\d+\b", r"\1*", key).replace("/", " "): value for key, value in state.items()}


@pytest.mark.parametrize("kind", kinds())
def test_no_name_is_gone(kind: str, tmp_path: Path) -> None:
    """What today's code leaves in this kind of run has every name that the newest samples have."""
    stored = [one.plain for one in samples() if (one.kind, one.version) == (kind, versions()[-1])]
    before = set().union(*(names_of(one) for one in stored if one["moment"] in ("deferred", "ended")))
    taking = Taking(kind, kinds()[kind], Contents(), discard=False)
    taking.play_to_the_end()
    now = set().union(*(names_of(one) for one in taking.samples))
    gone = {one for one in before - now if one not in GONE}
    assert gone == set(), "renamed or taken away: read the old name, too, and say so in GONE"


def test_what_is_gone_has_a_test(repository: Path) -> None:
    assert all((repository / test).exists() for test in GONE.values())
