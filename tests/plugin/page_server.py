"""Airflow's real API server with the page in it, over a database of its own; nothing else of Airflow runs."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests

from airflow_stack import AirflowStack, StackError, free_port
from recorded_work import RecordedWork
from three_readers import READS

BASE_PATH = "/base"


class PageServer:
    """The API server.

    :ivar work: writes what the page is to show.
    """

    def __init__(self, url: str, work: RecordedWork, passwords: dict[str, str]) -> None:
        self.url = url
        self.work = work
        self._passwords = passwords
        self._tokens: dict[str, str] = {}

    def token(self, user: str) -> str:
        if user not in self._tokens:
            login = {"username": user, "password": self._passwords[user]}
            answer = requests.post(f"{self.url}/auth/token", json=login, timeout=30)
            self._tokens[user] = answer.json()["access_token"]
        return self._tokens[user]

    def get(self, path: str, user: str | None = "admin", **params: Any) -> requests.Response:
        headers = {} if user is None else {"Authorization": f"Bearer {self.token(user)}"}
        return requests.get(f"{self.url}/bulk/{path}", params=params, headers=headers, timeout=60)


@contextlib.contextmanager
def running_page_server(home: Path) -> Iterator[PageServer]:
    """Behind a base path, with users whose rights are by DAG."""
    passwords = {user: f"word-of-{user}" for user in READS}
    file = home / "passwords.json"
    file.write_text(json.dumps(passwords))
    port = free_port()
    url = f"http://127.0.0.1:{port}{BASE_PATH}"
    settings = {
        "PYTHONPATH": str(Path(__file__).parent),
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__CORE__AUTH_MANAGER": "three_readers.ThreeReaders",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{user}:viewer" for user in READS),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(file),
    }
    stack = AirflowStack(home, {}, settings, port=port, components=["api-server"])
    try:
        stack.start()
        wait_for_pages(stack, f"{url}/api/v2/version")
        yield PageServer(url, RecordedWork(stack.database), passwords)
    finally:
        stack.stop()


def wait_for_pages(stack: AirflowStack, url: str) -> None:
    """Wait until the API server answers."""
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        stack.check_alive()
        with contextlib.suppress(requests.ConnectionError):
            if requests.get(url, timeout=30).ok:
                return
        time.sleep(0.2)
    raise StackError(f"no answer from {url}: {stack.log_tail('api-server')}")
