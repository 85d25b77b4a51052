"""The deletions option: what it says, and what it allows."""

import pytest

from airflow_bulk.extract_load.deletions import read_deletions


@pytest.mark.parametrize(
    ("value", "allowed", "refused"),
    [
        ("off", [(0, 0), (0, 9)], [(1, 100)]),
        (False, [(0, 9)], [(1, 100)]),
        ("all", [(100, 100)], []),
        (25, [(25, 26), (25, 10**6)], [(26, 10**6)]),
        ("25", [(25, 26)], [(26, 10**6)]),
        ("10%", [(10, 100), (0, 0), (1, 10)], [(11, 100), (1, 9)]),
        ("0.5%", [(1, 200)], [(1, 199)]),
        ("0%", [(0, 5)], [(1, 5)]),
        ("100%", [(5, 5)], []),
    ],
)
def test_limits(value, allowed, refused):
    limit = read_deletions(value)
    assert all(limit.allows(deletions, existing) for deletions, existing in allowed)
    assert not any(limit.allows(deletions, existing) for deletions, existing in refused)
    assert limit.off == (not limit.allows(1, 10**9))


@pytest.mark.parametrize(
    "value", ["on", "101%", "-1", -1, "10 percent", "", None, True, 1.5, "1e3", "\u0661\u0660%"]
)
def test_a_slip_never_deletes(value):
    with pytest.raises(ValueError, match="deletions="):
        read_deletions(value)
