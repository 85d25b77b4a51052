"""From which source fields each destination object is made, as data; the server has code for each type instead.

A mapping is plain data or importable names, so that it can stand in a YAML file with the jobs.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Record = dict[str, Any]
Fields = Mapping[str, str] | Callable[..., "Record | None"]
Scope = Mapping[str, Any] | Callable[[Record], bool]

# extract_load.md section 2.2 [seen]
_TRANSACTIONS = ("Bill", "CreditMemo", "Invoice", "Payment", "Purchase", "SalesReceipt")
FEEDING_TABLE: dict[str, tuple[str, ...]] = {
    "accounts": ("Account",),
    "customers": ("Customer",),
    "vendors": ("Vendor",),
    "products": ("Item",),
    "financial_transactions": _TRANSACTIONS,
    "financial_txns": _TRANSACTIONS,
    "periods": (),
}
DEFAULT_MATCH = "qbd_id"
_KEYS = ("feeds", "match_on", "fields", "references", "scope", "source_id")


@dataclass(frozen=True)
class LoadMapping:
    """How the extracts that feed a destination object become its records.

    :param feeds: the source objects that become records of this destination object; one name or several.
        ``None``: the feeding table of extract_load.md section 2.2, else the one extract that the load requires.
    :param match_on: the destination's field (or fields) by which a record is recognised. A single field that
        *fields* does not fill holds the source record's id.
    :param fields: destination field -> source field, with dots for nested fields (``CustomerRef.value``); or a callable
        ``(record, object) -> dict | None`` where ``None`` leaves the record out and object is ``Name`` or
        ``Name@grain``; or its dotted path.
        ``None``: all fields under the same names, but for the source's id and ``MetaData``.
    :param references: destination field that holds a SOURCE id -> the load object where its new id is found. *fields*
        fills the field; where *fields* does not fill it, the destination keeps its value.
    :param scope: destination field -> value (or a list of values), or a callable ``(record) -> bool``, or its dotted
        path: records outside the scope are neither matched, changed nor deleted.
    :param source_id: the field that holds the source record's id.
    """

    feeds: Sequence[str] | str | None = None
    match_on: Sequence[str] | str = DEFAULT_MATCH
    fields: Fields | str | None = None
    references: Mapping[str, str] = field(default_factory=dict)
    scope: Scope | str | None = None
    source_id: str = "Id"

    @property
    def match_fields(self) -> tuple[str, ...]:
        """The matching fields, always as a tuple."""
        return (self.match_on,) if isinstance(self.match_on, str) else tuple(self.match_on)

    @property
    def feeding(self) -> tuple[str, ...] | None:
        """The source objects that feed this one, as a tuple; ``None``: the feeding table names them."""
        if self.feeds is None:
            return None
        return (self.feeds,) if isinstance(self.feeds, str) else tuple(self.feeds)


def read_mapping(value: object) -> LoadMapping:
    """Return the mapping that *value* describes, with dotted paths imported.

    :param value: a :class:`LoadMapping` or its fields in a dict.
    :raises ValueError: a field of the wrong shape, an unknown one, or a path that cannot be imported.
    """
    if isinstance(value, LoadMapping):
        parts = {key: getattr(value, key) for key in _KEYS}
    elif isinstance(value, Mapping):
        parts = dict(value)
    else:
        raise ValueError(f"a mapping is a LoadMapping or a dict, not a {type(value).__name__}")  # noqa: TRY004
    if unknown := sorted(str(key) for key in parts if key not in _KEYS):
        raise ValueError(f"unknown key {', '.join(unknown)}; a mapping has {', '.join(_KEYS)}")
    _require_names(parts, "feeds", optional=True)
    _require_names(parts, "match_on", optional=False)
    references = parts.get("references") or {}
    if not _is_text_dict(references):
        raise ValueError("references must be a dict: destination field -> load object")
    fields = _imported(parts.get("fields"))
    if not (fields is None or callable(fields) or _is_text_dict(fields)):
        raise ValueError("fields must be a dict (destination field -> source field) or a callable")
    scope = _imported(parts.get("scope"))
    if not (scope is None or callable(scope) or isinstance(scope, Mapping)):
        raise ValueError("scope must be a dict (destination field -> value) or a callable")
    return LoadMapping(**{**parts, "references": dict(references), "fields": fields, "scope": scope})


def default_feeds(load: str, required_extracts: Sequence[str]) -> tuple[str, ...] | None:
    """Return the source objects that feed *load* when no mapping names them; ``None`` if they are unknown."""
    if load in FEEDING_TABLE:
        return FEEDING_TABLE[load]
    return tuple(required_extracts) if len(required_extracts) <= 1 else None


def _require_names(parts: dict[str, Any], key: str, *, optional: bool) -> None:
    if key not in parts or (optional and parts[key] is None):
        return
    value = parts[key]
    names = [value] if isinstance(value, str) else value
    valid = isinstance(names, list | tuple) and all(isinstance(name, str) and name for name in names)
    if not valid or not (names or optional):
        raise ValueError(f"{key} must be a name or a list of names")


def _is_text_dict(value: object) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(k, str) and isinstance(v, str) for k, v in value.items()
    )


def _imported(value: Any) -> Any:
    """Import *value* if it is a dotted path (``package.module.name`` or ``package.module:name``)."""
    if not isinstance(value, str):
        return value
    module, separator, name = value.partition(":") if ":" in value else value.rpartition(".")
    if not separator or not module or not name:
        raise ValueError(f"{value!r} is no dotted path such as my_package.my_module.my_function")
    try:
        return getattr(importlib.import_module(module), name)
    except Exception as error:
        # Any error that the module raises when it is loaded is a fault of the mapping that names it.
        raise ValueError(f"cannot import {value!r}: {type(error).__name__}: {error}") from error
