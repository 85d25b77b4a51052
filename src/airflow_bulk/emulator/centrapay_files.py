"""What the emulated Centrapay does with a file: fetch it from its URL, and judge its records by rules of its own.

It really fetches, but from loopback alone, and follows no redirect: an emulator must not become a way out of the
machine. Codes of its own begin with ``EMULATOR_``, so that nobody takes them for the platform's
(centrapay.md section 9).
"""

from __future__ import annotations

import csv
import http.client
import io
import ipaddress
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

import jsonschema_rs

from airflow_bulk.emulator.line_rules import read_json, without_nulls

FOLDER = Path(__file__).parent / "schemas" / "centrapay"
FARMLANDS, TICKETEK, ONBOARD = "farmlands-external-asset", "ticketek-ticket", "business-onboard"
TYPES = (FARMLANDS, TICKETEK, ONBOARD)
FETCH_SECONDS = 10.0
MOST_BYTES = 200_000_000
# The one code that the documentation gives (section 6.1).
BARCODE = "INVALID_BARCODE_LENGTH"


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects)


def outcome(batch_type: str, url: str, refused: Mapping[str, str]) -> dict[str, Any]:
    """Fetch a file and judge it: what the batch will say at its end.

    :param refused: externalId -> message of records that are refused though they keep all rules.
    :return: ``fatal`` (why nothing could be processed, or None), ``count``, ``errors`` and the good ``records``.
    """
    try:
        return {"fatal": None, **judge(batch_type, fetch(url), refused)}
    except (OSError, ValueError) as error:
        return {"fatal": str(error), "count": 0, "errors": [], "records": []}


def fetch(url: str) -> bytes:
    """Fetch a file from loopback.

    :raises OSError: it cannot be had.
    :raises ValueError: it lies elsewhere, or is too large.
    """
    if not _is_loopback(urlsplit(url).hostname or ""):
        raise ValueError("EMULATOR_FETCHES_FROM_LOOPBACK_ONLY")
    try:
        with _opener.open(url, timeout=FETCH_SECONDS) as answer:
            data: bytes = answer.read(MOST_BYTES + 1)
    except urllib.error.HTTPError as error:
        error.close()
        raise OSError(f"EMULATOR_FILE_ANSWERED_{error.code}") from None
    except (OSError, http.client.HTTPException) as error:  # URLError and time-outs are OSErrors
        raise OSError("EMULATOR_FILE_NOT_REACHABLE") from error
    if len(data) > MOST_BYTES:
        raise ValueError("EMULATOR_FILE_TOO_LARGE")
    return data


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def judge(batch_type: str, data: bytes, refused: Mapping[str, str] = MappingProxyType({})) -> dict[str, Any]:
    """Judge a file's records.

    :param refused: as :func:`outcome` takes it.
    :return: ``count`` of records read, ``errors``, one a bad record, and the good ``records``.
    :raises ValueError: the file cannot be read at all.
    """
    try:
        text = data.removeprefix(b"\xef\xbb\xbf").decode()
    except UnicodeDecodeError:
        raise ValueError("EMULATOR_FILE_NOT_UTF8") from None
    read = _rows(text) if batch_type == ONBOARD else _lines(text)
    errors, records = [], []
    for index, (record, why) in enumerate(read):
        message = why or _broken_rule(batch_type, record) or refused.get(str(record.get("externalId")))
        if message is None:
            records.append(record)
            continue
        error = {"message": message, "index": str(index)}
        name = record.get("externalId") or record.get("externalBusinessId")
        if isinstance(name, str):
            error["externalId"] = name
        errors.append(error)
    return {"count": len(read), "errors": errors, "records": records}


def _lines(text: str) -> list[tuple[dict[str, Any], str | None]]:
    found: list[tuple[dict[str, Any], str | None]] = []
    for line in text.split("\n"):
        if not line.strip():
            continue
        try:
            record = read_json(line)
        except (ValueError, RecursionError):
            # The vendor's own example of such an error.
            unclosed = line.count("{") > line.count("}")
            found.append(({}, "No closing bracket found" if unclosed else "EMULATOR_NOT_JSON"))
            continue
        found.append((record, None) if isinstance(record, dict) else ({}, "EMULATOR_NOT_AN_OBJECT"))
    return found


def _rows(text: str) -> list[tuple[dict[str, Any], str | None]]:
    rows = csv.DictReader(io.StringIO(text), strict=True)
    found: list[tuple[dict[str, Any], str | None]] = []
    try:
        for row in rows:
            ragged = None in row or None in row.values()
            record = {name: cell for name, cell in row.items() if name and cell}
            found.append((record, "EMULATOR_WRONG_NUMBER_OF_CELLS" if ragged else None))
    except csv.Error:
        raise ValueError("EMULATOR_FILE_NOT_CSV") from None
    return found


def _broken_rule(batch_type: str, record: dict[str, Any]) -> str | None:
    try:
        _validator(batch_type).validate(without_nulls(record))
    except jsonschema_rs.ValidationError as error:
        path = [str(part) for part in error.instance_path if isinstance(part, str)]
        if path[-1:] == ["barcode"]:
            return BARCODE
        missing = getattr(error.kind, "property", None)
        name = str(missing).strip('"') if missing else ".".join(path)
        return f"EMULATOR_{'MISSING' if missing else 'INVALID'}{'_' if name else ''}{name}"
    return None


@cache
def _validator(batch_type: str) -> Any:
    path = FOLDER / f"{batch_type}.json"
    schema = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"type": "object"}
    return jsonschema_rs.validator_for(schema)
