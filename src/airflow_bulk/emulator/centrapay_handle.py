"""The Centrapay side of a running emulator, for tests, demos and notebooks. Standard library only."""

from __future__ import annotations

import json
from typing import Any

from airflow_bulk.emulator.handle import Emulator

#: The accounts of the emulator; ``settings(accounts=...)`` gives it others.
ACCOUNT, TEST_ACCOUNT = "emulatorLiveAccount001", "emulatorTestAccount001"


class CentrapayEmulator:
    """Batches and assets; the clock and the faults are the emulator's.

    :param emulator: the emulator.
    """

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator

    def connection_json(self, **extra: Any) -> str:
        """Return the value of an ``AIRFLOW_CONN_...`` variable (holds the key).

        :param extra: fields of the connection's extra: ``account_id``, ``credentials``.
        """
        connection = json.loads(self.emulator.connection_json("centrapay"))
        kept = {name: value for name, value in connection["extra"].items() if name == "ca_path"}
        # The emulator's own pace is no account's: 200 calls a minute would only make tests slow.
        connection["extra"] = {"requests_per_minute": 60_000, **kept, **extra}
        return json.dumps(connection)

    def settings(self, **changes: Any) -> dict[str, Any]:
        """Change settings, and return all of them; see docs/emulator.md."""
        settings: dict[str, Any] = self.emulator.control("PATCH", "/centrapay/settings", changes)
        return settings

    def batches(self) -> list[dict[str, Any]]:
        """Return all batches, oldest first, as the API shows them."""
        found: list[dict[str, Any]] = self.emulator.control("GET", "/centrapay/batches")
        return found

    def assets(self) -> list[dict[str, Any]]:
        """Return all assets; ``loads`` says how often a complete batch has loaded each."""
        found: list[dict[str, Any]] = self.emulator.control("GET", "/centrapay/assets")
        return found

    def show_as(self, batch_id: str, **fields: Any) -> None:
        """Show a batch with other values than it has, such as ``errorCount="-1"``."""
        self.emulator.control("POST", f"/centrapay/batches/{batch_id}/shown", fields)
