"""Rows of a results file."""

from __future__ import annotations

from typing import Any

import msgspec


class ResultRow(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One row."""

    schema: int = 1
    state: str
    where: str = ""
    source: str | None = None
    version: str = ""
    line: int | None = None
    lines: int = 1
    part: int = 0
    execution: str | None = None
    reasons: list[str] = []
    offset: int | None = None
    bytes: int | None = None
    raw: str | None = None
    raw_base64: str | None = None
    columns: dict[str, Any] = {}
    stretches: list[tuple[str, int, int, int]] = []
