"""A plain HTTP client for the emulator, so that no room of the package stands between test and answer."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import requests

from airflow_bulk.emulator.handle import Emulator


class Api:
    """Calls by short names; every answer comes back as it is."""

    NDJSON = "application/x-ndjson"

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.headers["Authorization"] = emulator.token

    @staticmethod
    def profile(number: int) -> str:
        """Return a good USER_PROFILE line."""
        return json.dumps(
            {"operation": "UPSERT", "user_account_id": f"crm-{number}", "user_profile": {"score": number}}
        )

    def lines(self, *numbers: int) -> bytes:
        """Return a body of good USER_PROFILE lines."""
        return "".join(self.profile(number) + "\n" for number in numbers).encode()

    def call(self, method: str, path: str, **options) -> requests.Response:
        return self.session.request(method, f"{self.emulator.url}/v1{path}", timeout=60, **options)

    def imports(self, method: str, path: str = "", **options) -> requests.Response:
        return self.call(method, f"/datamarts/{self.emulator.datamart_id}/document_imports{path}", **options)

    def create(self, **fields) -> str:
        body = {
            "document_type": "USER_PROFILE",
            "mime_type": "APPLICATION_X_NDJSON",
            "encoding": "utf-8",
            "name": "test",
            **fields,
        }
        answer = self.imports("POST", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]["id"]

    def upload(
        self, import_id: str, body, content_type: str = "application/x-ndjson", **options
    ) -> requests.Response:
        headers = {"Content-Type": content_type, **options.pop("headers", {})}
        return self.imports("POST", f"/{import_id}/executions", data=body, headers=headers, **options)

    def uploaded(self, import_id: str, body, content_type: str = "application/x-ndjson") -> str:
        answer = self.upload(import_id, body, content_type)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]["id"]

    def execution(self, import_id: str, execution_id: str) -> dict:
        answer = self.imports("GET", f"/{import_id}/executions/{execution_id}")
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def cancel(self, import_id: str, execution_id: str, action: str = "CANCEL") -> requests.Response:
        return self.imports("POST", f"/{import_id}/executions/{execution_id}/action", json={"action": action})

    def error(self, answer: requests.Response, status: int) -> str:
        """Check that an answer is the error envelope, and return its message."""
        assert answer.status_code == status, answer.text
        envelope = answer.json()
        assert envelope["status"] == "error"
        assert set(envelope) == {"status", "error", "error_code", "error_id"}
        return envelope["error"]


@pytest.fixture
def api(bulk_emulator: Emulator) -> Iterator[Api]:
    client = Api(bulk_emulator)
    with client.session:
        yield client
