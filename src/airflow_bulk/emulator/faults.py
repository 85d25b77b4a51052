"""Faults by name: what goes wrong, how often, for which calls.

A fault is chosen when a request comes in, before anything else looks at it. ``gateway`` acts out what
happens to connections and answers; the fates of executions (``late``, ``stuck_running`` and so on) are
acted out by the routers that create them.
"""

from __future__ import annotations

import dataclasses
import json
import random
import re
from typing import Any

from airflow_bulk.emulator.database import Database

UPLOADS = r"/executions$"
ACTIONS = r"/action$"


@dataclasses.dataclass(frozen=True)
class Kind:
    """A fault that the emulator knows.

    :param about: what it does, in one sentence.
    :param method: which method it meets unless the caller says otherwise; ``None`` is any.
    :param path: which paths it meets unless the caller says otherwise, a regular expression; ``None`` is any.
    :param params: its own parameters and their defaults.
    """

    about: str
    method: str | None = None
    path: str | None = None
    params: dict[str, Any] = dataclasses.field(default_factory=dict)


KINDS: dict[str, Kind] = {
    "lost_answer": Kind(
        "the call is acted on, then the connection ends without an answer (how: close or reset)",
        "POST",
        None,
        {"how": "close"},
    ),
    "late": Kind(
        "like lost_answer, and what was created shows only `seconds` later, dated then",
        "POST",
        UPLOADS,
        {"seconds": 5.0, "how": "close"},
    ),
    "rate_limited": Kind(
        "429, nothing is done; retry_after in seconds (null: no header)", params={"retry_after": 1}
    ),
    "server_error": Kind(
        "a 5xx answer before or after the call is acted on", params={"status": 503, "when": "before"}
    ),
    "reset": Kind(
        "TCP reset once `after` body bytes have come in; nothing is done", "POST", UPLOADS, {"after": 0}
    ),
    "slow": Kind(
        "the body is read at bytes_per_second (null: at full speed), the answer comes answer_delay seconds late",
        params={"bytes_per_second": None, "answer_delay": 0.0},
    ),
    "stuck_running": Kind("the new execution never leaves RUNNING", "POST", UPLOADS),
    "forced_failed": Kind(
        "the new execution ends FAILED; `taken` is the share of its lines that were imported all the same",
        "POST",
        UPLOADS,
        {"taken": 1.0},
    ),
    "lost_status": Kind("the new execution ends LOST", "POST", UPLOADS, {"taken": 1.0}),
    "miscount": Kind(
        "the new execution says total_success wrong, by so many lines; what it imported is right",
        "POST",
        UPLOADS,
        {"by": -1},
    ),
    "failing_lines": Kind(
        "every so-many-th line of the new execution fails, although it breaks no rule",
        "POST",
        UPLOADS,
        {"every": 50},
    ),
    "error_file": Kind(
        "an error file is something else (content: huge, which announces more bytes than anybody takes, or not_utf8)",
        "GET",
        r"/data_file/data$",
        {"content": "huge"},
    ),
    "altered_file": Kind(
        "the copy of an upload is not what came: one byte is another, or (by) so many bytes are added, or taken off",
        "GET",
        r"/data_file/data$",
        {"by": 0},
    ),
    "unknown_status": Kind(
        "executions in the answer show `status`; over=true: finished ones too",
        "GET",
        r"/executions(/\d+)?$",
        {"status": "HIBERNATING", "over": False},
    ),
    "empty_delete": Kind("a DELETE is acted on and answered with nothing", "DELETE", None, {"status": 200}),
    "missing_total": Kind("lists come without `total`", "GET"),
    "html_answer": Kind(
        "a proxy's HTML page instead of the answer, before or after the call is acted on",
        params={"status": 200, "when": "after"},
    ),
    "empty_answer": Kind(
        "no body instead of the answer, before or after the call is acted on",
        params={"status": 200, "when": "after"},
    ),
    "half_answer": Kind("the call is acted on, the connection ends in the middle of the answer", "POST"),
    "refuse_cancel": Kind(
        "a cancel is refused though the execution is PENDING (status 400, or 200 unchanged); "
        "start=true: because it starts RUNNING just then",
        "POST",
        ACTIONS,
        {"status": 400, "start": False},
    ),
    "unauthorized": Kind("401, nothing is done"),
    "forbidden": Kind("403, nothing is done"),
    "gone": Kind("404, nothing is done"),
    "too_large": Kind("413, nothing is done", "POST", UPLOADS),
}


@dataclasses.dataclass
class Fault:
    """One fault that was asked for.

    :param times: how often it still strikes; ``None`` is without end.
    :param skip: how many matching requests it lets pass first.
    """

    id: int
    name: str
    method: str | None
    path: str | None
    probability: float = 1.0
    times: int | None = None
    skip: int = 0
    params: dict[str, Any] = dataclasses.field(default_factory=dict)

    def meets(self, method: str, path: str) -> bool:
        """Whether this request is one of those it strikes."""
        if self.method is not None and self.method != method:
            return False
        return self.path is None or re.search(self.path, path) is not None


class Faults:
    """All faults of the emulator, in the order in which they were asked for.

    :param database: keeps them over restarts.
    :param dice: source of every random choice.
    """

    def __init__(self, database: Database, dice: random.Random) -> None:
        self._database = database
        self._dice = dice
        self._faults: list[Fault] = [
            Fault(id=row["id"], **json.loads(row["spec"]))
            for row in database.rows("SELECT id, spec FROM faults ORDER BY id")
        ]

    def add(self, name: str, wanted: dict[str, Any]) -> Fault:
        """Ask for a fault.

        :param name: one of :data:`KINDS`.
        :param wanted: ``path``, ``method``, ``probability``, ``times``, ``skip`` and its own parameters.
        :raises ValueError: unknown name or parameter, or a value out of range; says which.
        """
        kind = KINDS.get(name)
        if kind is None:
            raise ValueError(f"no fault is called {name!r}; there are {', '.join(KINDS)}")
        rest = {key: value for key, value in wanted.items() if value is not None or key in kind.params}
        spec: dict[str, Any] = {
            "name": name,
            "method": str(rest.pop("method", kind.method)).upper()
            if rest.get("method", kind.method)
            else None,
            "path": rest.pop("path", kind.path),
            "probability": float(rest.pop("probability", 1.0)),
            "times": rest.pop("times", None),
            "skip": rest.pop("skip", 0),
        }
        _check(spec)
        spec["params"] = {**kind.params, **_own_params(name, kind, rest)}
        number = self._database.run("INSERT INTO faults (spec) VALUES (?)", json.dumps(spec))
        fault = Fault(id=number, **spec)
        self._faults.append(fault)
        return fault

    def choose(self, method: str, path: str) -> list[Fault]:
        """Return the faults that strike this request, and count them as struck."""
        chosen = []
        for fault in self._faults:
            if fault.times == 0 or not fault.meets(method, path):
                continue
            if fault.skip:
                fault.skip -= 1
                self._keep(fault)
                continue
            if fault.probability < 1 and self._dice.random() >= fault.probability:
                continue
            if fault.times is not None:
                fault.times -= 1
                self._keep(fault)
            chosen.append(fault)
        return chosen

    def listed(self) -> list[dict[str, Any]]:
        """Return all faults as they stand, ``times`` and ``skip`` counted down."""
        return [dataclasses.asdict(fault) for fault in self._faults]

    def clear(self, number: int | None = None) -> bool:
        """Take back one fault, or all.

        :return: whether there was one to take back.
        """
        kept = [fault for fault in self._faults if number is not None and fault.id != number]
        found = len(kept) < len(self._faults)
        self._faults = kept
        if number is None:
            self._database.run("DELETE FROM faults")
        else:
            self._database.run("DELETE FROM faults WHERE id = ?", number)
        return found

    def _keep(self, fault: Fault) -> None:
        spec = dataclasses.asdict(fault)
        number = spec.pop("id")
        self._database.run("UPDATE faults SET spec = ? WHERE id = ?", json.dumps(spec), number)


def _check(spec: dict[str, Any]) -> None:
    if not 0 <= spec["probability"] <= 1:
        raise ValueError("probability is between 0 and 1")
    for name in ("times", "skip"):
        value = spec[name]
        if value is not None and (not isinstance(value, int) or value < 0):
            raise ValueError(f"{name} is a number of 0 or more")
    try:
        re.compile(spec["path"] or "")
    except re.error:
        raise ValueError("path is not a regular expression") from None


def _own_params(name: str, kind: Kind, wanted: dict[str, Any]) -> dict[str, Any]:
    for key, value in wanted.items():
        if key not in kind.params:
            own = ", ".join(kind.params) or "none"
            raise ValueError(f"fault {name} has no parameter {key!r}; its own are: {own}")
        default = kind.params[key]
        choices = CHOICES.get(key)
        if isinstance(default, bool) or isinstance(value, bool):
            right = isinstance(default, bool) and isinstance(value, bool)
        elif choices is not None or isinstance(default, str):
            right = isinstance(value, str) and (choices is None or value in choices)
        else:
            right = (value is None and key in NULLABLE) or (
                isinstance(value, (int, float)) and (value >= 0 or key in SIGNED)
            )
        if not right:
            raise ValueError(
                f"fault {name}: {key} takes {' or '.join(choices or ('a value',))} like {default!r}"
            )
    return wanted


CHOICES = {"how": ("close", "reset"), "content": ("huge", "not_utf8"), "when": ("before", "after")}
NULLABLE = ("retry_after", "bytes_per_second")
SIGNED = ("by",)


def parse(text: str) -> tuple[str, dict[str, Any]]:
    """Read the command line's ``name[:probability[:param=value]...]``.

    :raises ValueError: not of that form.
    """
    name, _, rest = text.partition(":")
    wanted: dict[str, Any] = {}
    for place, piece in enumerate(rest.split(":") if rest else []):
        key, equals, value = piece.partition("=")
        if place == 0 and not equals:
            wanted["probability"] = float(piece)
        elif not equals:
            raise ValueError(f"{piece!r} in --fault {name} is not param=value")
        else:
            wanted[key] = _value(value)
    return name, wanted


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
