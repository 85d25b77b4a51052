"""A run that imports documents into the emulator of mediarithmics; everybody in its lines is a canary."""

from __future__ import annotations

import json
import random
import string
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from story import Story

if TYPE_CHECKING:
    from airflow_bulk.emulator.handle import Emulator
    from airflow_stack import AirflowStack

#: Begins every secret and every person's name here, so that one that got out is found. Letters alone: digits
#: are left out of messages anyway.
CANARY = "canary" + "".join(random.choices(string.ascii_lowercase, k=8))
PERSON = f"{CANARY}-person"


class ImportStory(Story):
    """A run on a datamart of its own.

    :param emulator: the platform of this DAG's connection.
    :param run_id: where the datamart alone does not tell it from all others.
    """

    def __init__(
        self,
        stack: AirflowStack,
        dag_id: str,
        emulator: Emulator,
        datamart: str,
        folder: Path,
        run_id: str = "",
    ) -> None:
        super().__init__(stack, dag_id, run_id or f"story-{datamart}", folder)
        self.emulator, self.datamart = emulator, datamart
        self._imports = f"/datamarts/{datamart}/document_imports"

    def good_line(self, number: int, size: int) -> str:
        line = {
            "operation": "UPSERT",
            "compartment_id": "4100",
            "user_account_id": f"{PERSON}-{number}",
            "user_profile": {"note": "x" * (size or number // 4)},
        }
        return json.dumps(line, separators=(",", ":"))

    def bad_line(self) -> str:
        return '{"operation":"UPSERT","compartment_id":"4100"}'

    def conf(self) -> dict[str, Any]:
        return {"datamart_id": self.datamart}

    def fault(self, name: str, what: str = "upload", *, times: int | None = 1, **params: Any) -> None:
        path = self._imports + {"upload": r"/\d+/executions$", "creation": "$"}[what]
        self.emulator.fault(name, path=path, method="POST", times=times, **params)

    def imports(self) -> list[dict[str, Any]]:
        return [one for one in self.emulator.imports() if str(one["datamart_id"]) == self.datamart]

    def executions(self) -> list[dict[str, Any]]:
        return [one for each in self.imports() for one in self.emulator.executions(each["id"])]

    def calls(self) -> list[dict[str, Any]]:
        return [one for one in self.emulator.requests() if f"/datamarts/{self.datamart}/" in one["path"]]

    def _calls(self, method: str, end: str) -> list[dict[str, Any]]:
        return [one for one in self.calls() if one["method"] == method and one["path"].endswith(end)]

    def uploads(self) -> list[dict[str, Any]]:
        return self._calls("POST", "/executions")

    def creations(self) -> list[dict[str, Any]]:
        return self._calls("POST", "/document_imports")

    def looks(self) -> list[dict[str, Any]]:
        return self._calls("GET", "/executions")

    def finish_pending(self) -> None:
        for one in self.executions():
            if one["status"] == "PENDING":
                self.emulator.change_execution(one["id"], start=True, end=True)

    def held(self, import_id: str | None = None) -> Counter[str]:
        held: Counter[str] = Counter()
        for one in self.imports():
            if import_id in (None, one["id"]):
                held += self.emulator.held(one["id"])
        return held
