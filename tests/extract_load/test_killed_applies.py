"""SIGKILL in an apply with 16 writes at once: nothing is created twice, nothing is lost, and deletions are exact.

Each try is a process of its own and is killed at a random write or shortly after, while the destination goes on with what it
has received. The next try begins as Airflow's retry does: with the same arguments and a higher number.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import threading
import time

import pytest
from killed_apply import run_try
from own_destination import OwnDestination

from airflow_bulk.runs.extract_load.staging import write_records

AT_ONCE = 16
CREATES, UPDATES, EQUAL, ORPHANS = range(1001, 1901), range(1, 41), range(151, 201), range(201, 301)


def there(number, name):
    return {"id": number, "qbd_id": str(number), "name": name, "parent_id": None}


#: At least as many as all tries make together; some new records get a second write.
WRITES = len(CREATES) + len(UPDATES) + len(ORPHANS)
HELD = [
    *(there(number, f"old {number}") for number in UPDATES),
    *(there(number, f"n{number}") for number in EQUAL),
    *(there(number, f"gone {number}") for number in ORPHANS),
]


class Killer:
    """Kills the try that writes, and slows writes down, all at random.

    :ivar under_way: of each kill: how many writes the destination was at.
    :ivar verbs: of each kill: what the write was.
    """

    def __init__(self, dice):
        self.dice = dice
        self.pid = self.left = 0
        self.under_way, self.verbs = [], []
        self.lock = threading.Lock()
        self.server = None

    def aim(self, pid, writes):
        with self.lock:
            self.pid, self.left = pid, writes

    def __call__(self, verb, record, done):
        with self.lock:
            hold, wait = self.dice.uniform(0, 0.02), self.dice.choice([0, self.dice.uniform(0, 0.01)])
            self.left -= done
            hit, pid = self.pid and self.left <= 0, self.pid
            if hit:
                self.pid = 0
                self.under_way.append(self.server.under_way)
                self.verbs.append(verb)
        if hit:
            time.sleep(wait)
            os.kill(pid, signal.SIGKILL)
        elif not done:
            time.sleep(hold)  # it counts later, perhaps after the death of its sender


@pytest.mark.parametrize(
    ("kills", "seed"), [pytest.param(20, 1, marks=pytest.mark.slow), pytest.param(3, 2)], ids=["20", "3"]
)
def test_killed_and_tried_again_until_it_succeeds(tmp_path, kills, seed):
    dice = random.Random(seed)
    # Each new record refers to another new one, before it or after it.
    parents = {number: dice.choice(CREATES) for number in CREATES}
    records = [{"Id": str(n), "Name": f"n{n}", "Parent": str(parents[n])} for n in CREATES]
    records += [{"Id": str(n), "Name": f"n{n}", "Parent": None} for n in (*UPDATES, *EQUAL)]
    dice.shuffle(records)
    uri, count = write_records(str(tmp_path), "extract", iter(records))
    extract = {"node": "e", "object": "Account", "uri": uri, "records": count}
    extract |= {"since": None, "updated_since": None, "rests_on": "a total"}
    uri, count = write_records(str(tmp_path), "snapshot", iter(HELD))
    snapshot = {"object": "accounts", "uri": uri, "records": count, "ended_runs": 1}
    # So that the work is not over before: at each kill others are under way, and count, too.
    span = WRITES // (kills + 1)
    aims = [dice.randint(span // 2, span - AT_ONCE) for _ in range(kills + 1)]
    killer = Killer(dice)
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["killed_apply"])
    ends = []
    with OwnDestination(HELD, killer) as server:
        killer.server = server
        for number in range(1, kills + 2):
            given = (number, server.connection_json(), str(tmp_path), extract, snapshot, AT_ONCE)
            one = processes.Process(target=run_try, args=given)
            one.start()
            # The kills are spread over all stages; the last try is left alone.
            killer.aim(one.pid if number <= kills else 0, aims.pop())
            one.join(120)
            ends.append(one.exitcode)
            while server.under_way:  # as retry_delay must be long enough for the destination
                time.sleep(0.01)
    assert ends == [-signal.SIGKILL] * kills + [0]
    assert server.created == dict.fromkeys(map(str, CREATES), 1)
    found = server.by_key()
    assert {key: len(ones) for key, ones in found.items()} == dict.fromkeys(
        map(str, (*CREATES, *UPDATES, *EQUAL)), 1
    )
    ids = {key: one["id"] for key, (one,) in found.items()}
    for number in (*CREATES, *UPDATES, *EQUAL):
        record = found[str(number)][0]
        parent = ids[str(parents[number])] if number in parents else None
        assert (record["name"], record["parent_id"]) == (f"n{number}", parent)
    assert sorted(number for verb, number in server.writes if verb == "DELETE") == list(ORPHANS)
    assert not {number for _, number in server.writes} & set(EQUAL)
    assert server.most <= AT_ONCE
    assert max(killer.under_way) > 1
    assert "POST" in killer.verbs
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["records"], result["kept_orphans"]) == (len(server.records), 0)
