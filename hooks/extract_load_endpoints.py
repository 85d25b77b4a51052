"""The systems that an expanded batch stands between, over HTTP: two sources and a destination.

Each can be named in a DAG as an object or as a connection id; the connection's extra field ``api`` then says which
it is. Building one reads nothing, so a DAG file is parsed without any connection.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any

from airflow_bulk.extract_load.endpoints import DESTINATION_ID, Destination, Source
from airflow_bulk.extract_load.mapping import Record
from airflow_bulk.extract_load.readings import PageOfRecords, Pages, PagesMoved, RecordReading, read_pages
from airflow_bulk.hooks.extract_load import EndpointHook
from airflow_bulk.hooks.extract_load_bounds import bound_fields, time_in
from airflow_bulk.hooks.extract_load_json import JsonSource, json_source_of
from airflow_bulk.hooks.network import origin
from airflow_bulk.hooks.platform_hook import ConnectionFieldError
from airflow_bulk.platforms import extract_load_endpoints as api
from airflow_bulk.platforms.call import Call
from airflow_bulk.platforms.errors import NotFound
from airflow_bulk.platforms.paging import Ask, End, Paging

__all__ = [
    "ActiveCellDestination",
    "EndpointHook",
    "JsonSource",
    "QuickBooksSource",
    "destination_of",
    "source_of",
]


@dataclass(frozen=True)
class QuickBooksSource:
    """A source that answers QuickBooks queries: first a count, then pages (extract_load.md section 2.1).

    :param conn_id: connection with the base URL and a bearer token.
    :param realm: the company; ``None``: the connection's extra field ``realm``.
    :param page_size: rows of a page, 500 at most.
    :param since_field: the field that ``since`` filters, the time in the data [seen: the create time].
    :param updated_field: the field that ``updated_since`` filters.
    :param id_field: the field that tells records apart.
    :param read_twice: read a list of several pages again, and compare: no count shows that one record was deleted and another
        one added meanwhile.
    """

    conn_id: str
    realm: str | None = None
    page_size: int = api.PAGE_SIZE
    since_field: str | None = "MetaData.CreateTime"
    updated_field: str | None = "MetaData.LastUpdatedTime"
    id_field: str = "Id"
    read_twice: bool = True

    @cached_property
    def hook(self) -> EndpointHook:
        """The hook, made when the first record is wanted."""
        return EndpointHook(self.conn_id)

    def extract(
        self, name: str, *, since: datetime | None, updated_since: datetime | None, grain: str | None
    ) -> RecordReading:
        """Read all records of an object, page after page as they are consumed.

        :raises PagesMoved: (while it is read) the list changed meanwhile.
        """
        realm = self.realm or self.hook.text("realm")
        if not realm:
            raise ConnectionFieldError(f"Connection {self.conn_id!r} has no realm (extra field realm).")
        bounds = bound_fields(self, name, since, updated_since)
        pages = functools.partial(self._pages, realm, name, bounds)
        return read_pages(pages, self.id_field, twice=self.read_twice)

    def _pages(self, realm: str, name: str, bounds: Mapping[str, datetime | None]) -> Pages:
        """A page may have fewer rows than asked for; the count says when the last one has come."""
        count = self.hook.send(api.quickbooks_count(realm, name, bounds))
        start = 1
        while start <= count:
            page = self.hook.send(api.quickbooks_page(realm, name, bounds, start, self.page_size))
            if not page:
                break
            yield PageOfRecords(page, count)
            start += len(page)
        if start != count + 1 or count != (
            after := self.hook.send(api.quickbooks_count(realm, name, bounds))
        ):
            now = f"{start - 1} records came" if start != count + 1 else f"{after} after"
            raise PagesMoved(f"the count was {count} before and {now}")
        return f"a count of {count}"

    def changed_at(self, name: str, record: Record) -> datetime | None:
        """Return the record's last update."""
        return time_in(record, self.updated_field)


@dataclass(frozen=True)
class ActiveCellDestination:
    """A destination with one REST resource an object (extract_load.md section 2.2).

    :param conn_id: connection with the base URL, and the token in the password; the API wants it in the query.
    """

    conn_id: str

    @cached_property
    def hook(self) -> _ActiveCellHook:
        """The hook, made when the first record is wanted."""
        return _ActiveCellHook(self.conn_id)

    def prepare_writes(self, writes_at_once: int) -> None:
        """Read the connection, and keep as many connections to the destination as there are writes at once."""
        self.hook.prepare(connections=writes_at_once)

    def snapshot(self, name: str) -> RecordReading:
        """Read all records of one object: one answer (section 2.2), or the pages that its ``Link`` header names [assumed]."""
        return read_pages(functools.partial(self._pages, name), DESTINATION_ID, twice=True)

    def _pages(self, name: str) -> Pages:
        walk = _LINKED.walk(self.hook.endpoint.base_url + api.object_path(name), f"list the {name}")
        then: Ask | End = walk.first()
        while isinstance(then, Ask):
            page = self._send(replace(api.list_records(name), url=then.url))
            then = walk.after(page, page.total)
            yield PageOfRecords(page.records, page.total)
        return then.rests_on or "one answer that names no next page"

    def create(self, name: str, record: Record) -> Record:
        """Create a record."""
        created: Record = self._send(api.create_record(name, record))
        return created

    def update(self, name: str, record_id: object, record: Record) -> Record:
        """Replace a record."""
        updated: Record = self._send(api.update_record(name, record_id, record))
        return updated

    def delete(self, name: str, record_id: object) -> None:
        """Delete a record; one that is gone already counts as deleted."""
        try:
            self._send(api.delete_record(name, record_id))
        except NotFound:
            self.hook.log.info("%s %s was gone already", name, record_id)

    def _send(self, call: Call[Any]) -> Any:
        token = (self.hook.connection.password or "").strip()
        elsewhere = call.url is not None and origin(call.url) != origin(self.hook.endpoint.base_url)
        return self.hook.send(replace(call, query={"token": token}) if token and not elsewhere else call)


#: A list of the destination, whose first answer holds all unless it says otherwise.
_LINKED = Paging(style="link", next_key=None, param="", size_param=None, page_size=0)


class _ActiveCellHook(EndpointHook):
    """The token stands in the query alone."""

    def authentication(self, connection: Any) -> dict[str, str]:
        return {
            name: value
            for name, value in super().authentication(connection).items()
            if name != "Authorization"
        }


def source_of(given: str | Source, **options: Any) -> Source:
    """Return a source: *given* itself, or what its connection describes (extra ``api``: quickbooks or json)."""
    if not isinstance(given, str):
        return given
    hook = EndpointHook(given)
    kind = hook.text("api") or "json"
    if kind == "quickbooks":
        return QuickBooksSource(given, **options)
    if kind == "json":
        return json_source_of(given, hook, options)
    raise ConnectionFieldError(
        f"Connection {given!r}: extra field api is {kind!r}; a source is quickbooks or json."
    )


def destination_of(given: str | Destination) -> Destination:
    """Return a destination: *given* itself, or what its connection describes (extra ``api``: activecell)."""
    if not isinstance(given, str):
        return given
    kind = EndpointHook(given).text("api") or "activecell"
    if kind != "activecell":
        raise ConnectionFieldError(
            f"Connection {given!r}: extra field api is {kind!r}; a destination is activecell."
        )
    return ActiveCellDestination(given)
