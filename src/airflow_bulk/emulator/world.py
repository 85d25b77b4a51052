"""What all emulated APIs share: state, clock, dice, settings, faults, request log, and who may do what."""

from __future__ import annotations

import dataclasses
import hmac
import json
import random
import shutil
from pathlib import Path
from typing import Any

from fastapi import Request

from airflow_bulk.emulator.clock import Clock
from airflow_bulk.emulator.database import Database
from airflow_bulk.emulator.envelopes import Refused
from airflow_bulk.emulator.faults import Fault, Faults
from airflow_bulk.emulator.request_log import RequestLog
from airflow_bulk.emulator.settings import Settings

ACCESS_TOKEN_SECONDS = 3600  # mediarithmics.md section 1.2 [documented]


@dataclasses.dataclass(frozen=True)
class Account:
    """The one user of the emulator.

    :param token: its API token; never shown in a ``repr``.
    :param datamarts: datamarts on which it has rights.
    :param organisation_id: the organisation of those datamarts.
    """

    token: str = dataclasses.field(repr=False)
    datamarts: tuple[str, ...] = ("3300",)
    organisation_id: str = "900"


class World:
    """The shared parts, built once per process from the state folder.

    :param folder: the state folder; holds the database and the bodies.
    :param account: who may call.
    :param seed: seed of every random choice.
    """

    def __init__(self, folder: Path, account: Account, seed: int = 0) -> None:
        self.folder = folder
        self.account = account
        self.seed = seed
        self.bodies = folder / "bodies"
        self.bodies.mkdir(mode=0o700, exist_ok=True)
        self.database = Database(folder / "state.sqlite")
        self.dice = random.Random(seed)  # noqa: S311 - repeatable choices, no secrets
        self.clock = Clock(self.database)
        self.settings = Settings().changed(self.database.recall("settings") or {})
        self.faults = Faults(self.database, self.dice)
        self.log = RequestLog(self.database, self.clock)

    def change_settings(self, changes: dict[str, Any]) -> None:
        """Change settings and keep them over restarts.

        :raises ValueError: unknown name or wrong kind of value.
        """
        self.settings = self.settings.changed(changes)
        self.database.remember("settings", dataclasses.asdict(self.settings))

    def reset(self) -> None:
        """Forget everything but the id counters."""
        self.database.clear()
        self.settings = Settings()
        self.faults.clear()
        self.clock.reset()
        # An upload under way may put a file there meanwhile; its import is gone, so it will be refused.
        shutil.rmtree(self.bodies, ignore_errors=True)
        self.bodies.mkdir(mode=0o700, exist_ok=True)

    def knows(self, credential: str) -> bool:
        """Whether this is a token of the account, raw or with ``api:`` before it (mediarithmics.md section 1.2)."""
        token = credential.strip().removeprefix("api:")
        return self.is_api_token(token) or self._is_access_token(token)

    def is_api_token(self, token: str) -> bool:
        """Whether this is the account's API token."""
        return hmac.compare_digest(token.encode(), self.account.token.encode())

    def access_token(self) -> str:
        """Return a temporary token; it names its own end, so nothing need be kept."""
        return self._signed(self.clock.now() + ACCESS_TOKEN_SECONDS * 1000)

    def _is_access_token(self, token: str) -> bool:
        end = token.partition("-")[0]
        if not (end.isascii() and end.isdigit() and len(end) < 20) or int(end) <= self.clock.now():
            return False
        return hmac.compare_digest(token.encode(), self._signed(int(end)).encode())

    def _signed(self, end: int) -> str:
        signature = hmac.new(self.account.token.encode(), str(end).encode(), "sha256")
        return f"{end}-{signature.hexdigest()}"

    def require_token(self, credential: str | None) -> None:
        """Refuse whoever does not show the token.

        :raises Refused: 401.
        """
        if not credential:
            raise Refused(401, "no token was sent")
        if not self.knows(credential):
            raise Refused(401, "the token is not known")

    def require_datamart(self, datamart_id: str) -> None:
        """Refuse datamarts on which the token has no right.

        :raises Refused: 403.
        """
        if datamart_id not in self.account.datamarts:
            raise Refused(403, f"the token has no right on datamart {json.dumps(datamart_id[:20])}")

    def require_organisation(self, organisation_id: str) -> None:
        """Refuse organisations on which the token has no right.

        :raises Refused: 403; 400 when none is named.
        """
        if not organisation_id:
            raise Refused(400, "organisation_id is missing")
        if organisation_id != self.account.organisation_id:
            raise Refused(403, f"the token has no right on organisation {json.dumps(organisation_id[:20])}")


def world_of(request: Request) -> World:
    """Return the world that this request came to."""
    world: World = request.app.state.world
    return world


def struck(request: Request, name: str) -> Fault | None:
    """Return the fault of that name that strikes this request, if one does."""
    faults: list[Fault] = request.scope.get("bulk.faults", [])
    return next((fault for fault in faults if fault.name == name), None)


async def authorised(request: Request) -> None:
    """Let a call in only with the token in its ``Authorization`` header (router dependency)."""
    world_of(request).require_token(request.headers.get("authorization"))


async def on_own_datamart(request: Request, datamart_id: str) -> None:
    """Let a call in only for a datamart of the account (router dependency)."""
    world = world_of(request)
    world.require_token(request.headers.get("authorization"))
    world.require_datamart(datamart_id)
