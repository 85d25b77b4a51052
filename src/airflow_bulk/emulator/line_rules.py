"""The emulator's own idea of a good line: one JSON Schema file a document type.

Written from mediarithmics.md sections 5 and 6, apart from the package's own rules, so that a mistake in one
of the two shows as a disagreement. Messages name rules and known properties, never what a line holds.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs

FOLDER = Path(__file__).parent / "schemas"
SPELLINGS = {"USER_DEVICE_POINT_DELETION": "USER_DEVICE_POINTS_DELETION"}


class LineRules:
    """The rules for the lines of one document type.

    :param document_type: its name (section 2.1); a type without a file takes any JSON object.
    :param strict: mandatory means mandatory; else what section 12 calls tolerable passes.
    """

    def __init__(self, document_type: str, *, strict: bool) -> None:
        self._validator = _validator(SPELLINGS.get(document_type, document_type), strict)
        self._is_valid = self._validator.is_valid

    def reason(self, line: bytes) -> str | None:
        """Judge one line of ndjson, without its line end.

        :return: why it fails, or ``None`` for a good line.
        """
        try:
            document = read_json(line.decode())
            if b"null" in line:
                document = without_nulls(document)
        except UnicodeDecodeError:
            return "Not UTF-8"
        except (ValueError, RecursionError):
            return "Not a JSON document"
        return None if self._is_valid(document) else self.broken_rule(document)

    def broken_rule(self, document: Any) -> str | None:
        """Return the first rule that a document breaks, or ``None``."""
        try:
            # Stops at the first broken rule, which is seven times as fast as listing them all.
            self._validator.validate(document)
        except jsonschema_rs.ValidationError as error:
            keyword = next((str(part) for part in reversed(error.schema_path) if isinstance(part, str)), "")
            where = "/".join(str(part) for part in error.instance_path if part in _known())
            return _sentence(keyword, where, error)
        return None


def read_json(text: str) -> Any:
    """Read JSON as RFC 8259 has it: whole numbers of any length, no NaN, no text that is none.

    :raises ValueError: it is no such JSON; also for a lone surrogate such as ``\\ud800``.
    :raises RecursionError: it is nested too deeply.
    """
    value = _READ(text)
    if "\\u" in text:
        json.dumps(value, ensure_ascii=False).encode()  # this cannot be done with a lone surrogate
    return value


def without_nulls(value: Any) -> Any:
    """Return a JSON value without the properties that are null, at any depth: they count as absent.

    The platform's own exports write such activities (mediarithmics.md section 5 [seen]); elsewhere it is [assumed].
    """
    if isinstance(value, dict):
        return {name: without_nulls(inner) for name, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [without_nulls(inner) for inner in value]
    return value


def _whole_number(digits: str) -> int:
    """Read a whole number: no rule tells longer ones apart, and Python refuses more than 4,300 digits."""
    return int(digits[:40])


@cache
def _known() -> frozenset[str]:
    """Return the property names that the schemas speak of; any other name may be somebody's data."""
    names: set[str] = set()

    def collect(schema: Any) -> None:
        if isinstance(schema, dict):
            names.update(schema.get("properties", {}))
            for part in schema.values():
                collect(part)
        elif isinstance(schema, list):
            for part in schema:
                collect(part)

    for path in FOLDER.rglob("*.json"):
        collect(_load(path))
    return frozenset(names)


def _sentence(keyword: str, where: str, error: Any) -> str:
    place = f" at {where}" if where else ""
    if keyword == "oneOf":
        return "A line has exactly one identifier"
    if keyword == "anyOf" and not where:
        return "segment_id or segment_technical_name is missing"
    if keyword == "required":
        missing = str(getattr(error.kind, "property", "")).strip('"')
        return f"Property {missing} is missing{place}"
    if keyword == "type" and not where:
        return "A line is a JSON object"
    if keyword in ("enum", "const"):
        return f"A value outside its list{place}"
    if keyword == "not":
        return f"Properties that exclude each other{place}"
    return f"A wrong value{place} ({keyword})"


@cache
def _validator(document_type: str, strict: bool) -> Any:
    known = {path.stem for path in FOLDER.glob("*.json")} - {"identifiers"}
    if document_type not in known:
        return jsonschema_rs.validator_for({"type": "object"})
    lenient = FOLDER / "lenient" / f"{document_type}.json"
    path = lenient if lenient.exists() and not strict else FOLDER / f"{document_type}.json"
    base = "emulator:///"
    registry = jsonschema_rs.Registry([(base + "identifiers.json", _load(FOLDER / "identifiers.json"))])
    return jsonschema_rs.validator_for(
        _load(path),
        registry=registry,
        base_uri=base + path.name,
        validate_formats=True,
        formats={"json-text": _is_json_text},
    )


def _is_json_text(text: str) -> bool:
    try:
        read_json(text)
    except (ValueError, RecursionError):
        return False
    return True


def _load(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_READ = json.JSONDecoder(parse_constant=_no_constant, parse_int=_whole_number).decode
