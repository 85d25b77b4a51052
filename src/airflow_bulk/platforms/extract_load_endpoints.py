"""Sources and destinations over HTTP: QuickBooks-like queries, plain paged JSON, ActiveCell-like objects.

Facts: extract_load.md sections 2.1, 2.2 and 8.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

import msgspec

from airflow_bulk.platforms.answers import json_reader
from airflow_bulk.platforms.call import AnswerProblem, Call, Reply
from airflow_bulk.platforms.extract_load import problem
from airflow_bulk.platforms.json_lists import JsonList, JsonPage

Record = dict[str, Any]
#: Rows of a QuickBooks query page (section 2.1 [seen]).
PAGE_SIZE = 500
_any, _one_record = json_reader(Any), json_reader(Record)
_BARE_ARRAY = JsonList()
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def count_query(name: str, bounds: Mapping[str, datetime | None]) -> str:
    """Return the count query of an object (section 2.1).

    :param bounds: field -> lower bound; a record must keep all bounds.
    """
    return f"select count(*) from {_checked(name)}{_where(bounds)}"  # noqa: S608 - no SQL; names are checked


def page_query(name: str, bounds: Mapping[str, datetime | None], start: int, size: int) -> str:
    """Return the query of one page; *start* counts from 1."""
    where = _where(bounds)
    rows = f"startposition {start} maxresults {size}"
    return f"select *, MetaData.CreateTime from {_checked(name)}{where} {rows}"  # noqa: S608 - as above


def quickbooks_count(realm: str, name: str, bounds: Mapping[str, datetime | None]) -> Call[int]:
    """Ask how many records a query has."""
    return Call(
        "GET",
        f"/v3/company/{quote(realm, safe='')}/query",
        f"count the {name} records",
        lambda reply: int(_query_response(reply)["totalCount"]),
        problem,
        query={"query": count_query(name, bounds)},
    )


def quickbooks_page(
    realm: str, name: str, bounds: Mapping[str, datetime | None], start: int, size: int = PAGE_SIZE
) -> Call[list[Record]]:
    """Ask for one page of a query; a page without the object's key is empty."""
    return Call(
        "GET",
        f"/v3/company/{quote(realm, safe='')}/query",
        f"read {name} records from number {start}",
        lambda reply: _records(_query_response(reply).get(name, [])),
        problem,
        query={"query": page_query(name, bounds, start, size)},
    )


def object_path(name: str, record_id: object = None) -> str:
    """Return the path of a destination object: lower-cased in the URL (section 2.2 [seen])."""
    path = f"/api/v1/{quote(name.lower(), safe='')}"
    return f"{path}.json" if record_id is None else f"{path}/{quote(str(record_id), safe='')}.json"


def list_records(name: str) -> Call[JsonPage]:
    """GET all current objects of a type: a bare array."""
    what = f"list the {name}"
    return _exactly_200("GET", object_path(name), what, lambda reply: _BARE_ARRAY.page(reply, what))


def create_record(name: str, record: Record) -> Call[Record]:
    """POST a new object. Never repeated without a look."""
    return _exactly_200(
        "POST", object_path(name), f"create one of {name}", _record, json=record, repeatable=False
    )


def update_record(name: str, record_id: object, record: Record) -> Call[Record]:
    """PUT an object."""
    what = f"update {name} {record_id}"
    return _exactly_200("PUT", object_path(name, record_id), what, _record, json=record)


def delete_record(name: str, record_id: object) -> Call[None]:
    """DELETE an object."""
    what = f"delete {name} {record_id}"
    return _exactly_200("DELETE", object_path(name, record_id), what, lambda reply: None)


def _exactly_200(method: str, path: str, what: str, parse: Any, **options: Any) -> Call[Any]:
    return Call(method, path, what, parse, _not_200, **options)


def _not_200(reply: Reply) -> AnswerProblem | None:
    """Return what a bad answer says: only 200 is success, and 201 and 204 are errors, too (section 2.2 [seen])."""
    if reply.status == 200:
        return None
    return problem(reply) or AnswerProblem(reply.status, "only 200 is success here")


def _where(bounds: Mapping[str, datetime | None]) -> str:
    parts = [f"{field} >= '{bound.isoformat()}'" for field, bound in bounds.items() if bound is not None]
    return f" where {' and '.join(parts)}" if parts else ""


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no object of a query: letters, digits and _ only")
    return name


def _query_response(reply: Reply) -> dict[str, Any]:
    answer = _json(reply)
    if not isinstance(answer, dict) or not isinstance(answer.get("QueryResponse"), dict):
        raise ValueError("Response error")  # noqa: TRY004 - section 2.1: an Intuit Extract Error
    response: dict[str, Any] = answer["QueryResponse"]
    return response


def _json(reply: Reply) -> Any:
    return _any(reply.body)


def _record(reply: Reply) -> Record:
    found: Record = _one_record(reply.body)
    return found


def _records(value: Any) -> list[Record]:
    return msgspec.convert(value, type=list[Record])
