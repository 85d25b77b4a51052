"""An import that another party created and feeds, and whose executions go where a test wants them."""

from __future__ import annotations

import json
import threading
import urllib.request
from typing import Any

from one_task import profile

from airflow_bulk.emulator.handle import Emulator

BAD = '{"operation":"UPSERT"}'


class FedImport:
    """One import on the emulator, fed by plain HTTP.

    :ivar id: its id.
    """

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self._closing = threading.Event()
        self._movers: list[threading.Thread] = []
        self._path = f"/v1/datamarts/{emulator.datamart_id}/document_imports"
        body = {
            "document_type": "USER_PROFILE",
            "mime_type": "APPLICATION_X_NDJSON",
            "encoding": "utf-8",
            "name": "fed by others",
        }
        self.id: str = self._post("", json.dumps(body), "application/json")["id"]

    def _post(self, path: str, body: str, content_type: str) -> Any:
        request = urllib.request.Request(self.emulator.url + self._path + path, body.encode(), method="POST")
        request.add_header("Authorization", self.emulator.token)
        request.add_header("Content-Type", content_type)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())["data"]

    def upload(self, good: int = 1, bad: int = 0) -> str:
        """Upload a file; its execution is PENDING."""
        lines = [profile(number) for number in range(good)] + [BAD] * bad
        body = "".join(line + "\n" for line in lines)
        return str(self._post(f"/{self.id}/executions", body, "application/x-ndjson")["id"])

    def cancel(self, execution_id: str) -> None:
        self._post(f"/{self.id}/executions/{execution_id}/action", '{"action": "CANCEL"}', "application/json")

    def end(self, execution_id: str, fate: str | None = None) -> None:
        """Let an execution end: well, or ``failed`` or ``lost``."""
        self.emulator.change_execution(execution_id, fate=fate, end=True)

    def start(self, execution_id: str) -> None:
        self.emulator.change_execution(execution_id, start=True)

    def status(self, execution_id: str) -> str:
        return next(one["status"] for one in self.emulator.executions(self.id) if one["id"] == execution_id)

    def looks(self) -> int:
        """How often the list of executions was asked for."""
        wanted = f"{self._path}/{self.id}/executions"
        return sum(
            one["method"] == "GET" and one["path"] == wanted and one["done"]
            for one in self.emulator.requests()
        )

    def end_after(self, looks: int, *executions: str) -> None:
        """Let executions end once the list was asked for so often, whoever asks, however long it takes."""

        def move() -> None:
            while self.looks() < looks:
                if self._closing.wait(0.05):
                    return
            for one in executions:
                self.end(one)

        mover = threading.Thread(target=move)
        self._movers.append(mover)
        mover.start()

    def close(self) -> None:
        self._closing.set()
        for mover in self._movers:
            mover.join()
