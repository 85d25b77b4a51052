"""Another process, as a task (``send``) or a triggerer (``asend``): ``python calling_script.py WAY COUNT DATAMART``.

Makes so many calls over the connection ``limited``.
"""

from __future__ import annotations

import asyncio
import sys

from airflow_bulk.hooks.mediarithmics import MediarithmicsHook
from airflow_bulk.platforms.mediarithmics.document_import_calls import list_document_imports


def main() -> None:
    way, count, datamart = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    hook = MediarithmicsHook("limited")

    async def by_asend() -> None:
        for _ in range(count):
            await hook.asend(list_document_imports(datamart))
        await hook.aclose()

    if way == "asend":
        asyncio.run(by_asend())
        return
    for _ in range(count):
        hook.send(list_document_imports(datamart))


if __name__ == "__main__":
    main()
