"""A process that shares limits: ``python shared_script.py count STORE NAME TIMES`` or ``... hold STORE NAME MOST``.

STORE is the URL of a Redis, or a folder.
"""

from __future__ import annotations

import sys
import time

from airflow_bulk.hooks.limits.bodies import BodyLimits, BodyTurns
from airflow_bulk.hooks.limits.store import StoreAddress, open_store


def main() -> None:
    what, where, name, number = sys.argv[1:]
    address = StoreAddress(redis_url=where) if "://" in where else StoreAddress(folder=where)
    if what == "count":
        store = open_store(address)
        for _ in range(int(number)):
            store.change(name, lambda now, value: value.update(count=value.get("count", 0) + 1))
    else:
        limits = BodyLimits(address=address, names=(name,), max_uploads=int(number))
        with BodyTurns(limits, lambda: False).body():
            print("held", flush=True)
            time.sleep(3600)


if __name__ == "__main__":
    main()
