"""Holes: the rejected lines of a part, kept in memory or in a file without a name."""

from __future__ import annotations

from airflow_bulk.documents.source import bodies as bodies_module
from airflow_bulk.documents.source.bodies import HoleKeeper, Spill, spans_of


def test_many_holes_spill_to_disk_and_come_back(tmp_path):
    spill = Spill(str(tmp_path))
    keeper = HoleKeeper(3, spill.handle, most=50)
    first = [(i * 10, i * 10 + 4) for i in range(30)]
    second = [(i * 10, i * 10 + 4) for i in range(3 * bodies_module.CHUNK + 7)]
    third = [(5, 6)]
    lists = []
    for spans in (first, second, third):
        for start, stop in spans:
            keeper.add(start, stop)
        lists.append(keeper.finish())
    assert [list(spans_of(one, {3: spill.handle})) for one in lists] == [first, second, third]
    assert [one.worker for one in lists] == [-1, 3, -1]
    assert not list(tmp_path.iterdir())  # it never had a name


def test_neighbouring_holes_are_one(tmp_path):
    spill = Spill()
    keeper = HoleKeeper(0, spill.handle)
    for start in range(0, 100, 10):
        keeper.add(start, start + 10)
    keeper.fence()
    keeper.add(100, 110)
    assert list(spans_of(keeper.finish(), {})) == [(0, 100), (100, 110)]


def test_holes_need_no_temporary_folder(tmp_path):
    spill = Spill(str(tmp_path / "none"))
    keeper = HoleKeeper(0, spill.handle, most=0)
    keeper.add(3, 5)
    assert list(spans_of(keeper.finish(), {0: spill.handle})) == [(3, 5)]
    spill.close()
