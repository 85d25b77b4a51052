"""The systems that an expanded batch stands between, over HTTP: two sources and a destination.

Each can be named in a DAG as an object or as a connection id; the connection's extra field ``api`` then says which
it is. Building one reads nothing, so a DAG file is parsed without any connection.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any

from airflow_bulk.extract_load.endpoints import Destination, Source, UnfilterableBound
from airflow_bulk.extract_load.mapping import Record
from airflow_bulk.extract_load.times import read_time, to_text
from airflow_bulk.hooks.extract_load import BearerHook
from airflow_bulk.hooks.platform_hook import ConnectionFieldError
from airflow_bulk.platforms import extract_load_endpoints as api
from airflow_bulk.platforms.call import Call
from airflow_bulk.platforms.errors import NotFound

_READS = 3  # a list that changes while its pages are read is read again so often


class EndpointHook(BearerHook):
    """The connection of a source or a destination, type ``extract_load``."""

    conn_name_attr = "conn_id"
    conn_type = "extract_load"
    hook_name = "Extract/load batches"


class SourceKeepsChanging(RuntimeError):
    """A source changed so fast that no complete reading came about. A retry reads again."""


@dataclass(frozen=True)
class QuickBooksSource:
    """A source that answers QuickBooks queries: first a count, then pages (extract_load.md section 2.1).

    :param conn_id: connection with the base URL and a bearer token.
    :param realm: the company; ``None``: the connection's extra field ``realm``.
    :param page_size: rows of a page, 500 at most.
    :param since_field: the field that ``since`` filters, the time in the data [seen: the create time].
    :param updated_field: the field that ``updated_since`` filters.
    """

    conn_id: str
    realm: str | None = None
    page_size: int = api.PAGE_SIZE
    since_field: str | None = "MetaData.CreateTime"
    updated_field: str | None = "MetaData.LastUpdatedTime"
    id_field: str = "Id"

    @cached_property
    def hook(self) -> EndpointHook:
        """The hook, made when the first record is wanted."""
        return EndpointHook(self.conn_id)

    def extract(
        self, name: str, *, since: datetime | None, updated_since: datetime | None, grain: str | None
    ) -> Iterator[Record]:
        """Read all records of an object; a list that changes meanwhile is read again.

        A record deleted while its pages are read would shift another one out of sight, and an apply would then
        take that one for deleted. So the count is asked before and after.
        """
        realm = self.realm or self.hook.text("realm")
        if not realm:
            raise ConnectionFieldError(f"Connection {self.conn_id!r} has no realm (extra field realm).")
        bounds = bound_fields(self, name, since, updated_since)
        for _ in range(_READS):
            count = self.hook.send(api.quickbooks_count(realm, name, bounds))
            found: dict[Any, Record] = {}
            for start in range(1, count + 1, self.page_size):
                page = self.hook.send(api.quickbooks_page(realm, name, bounds, start, self.page_size))
                found.update(
                    (record.get(self.id_field, (start, place)), record) for place, record in enumerate(page)
                )
            if len(found) == count == self.hook.send(api.quickbooks_count(realm, name, bounds)):
                yield from found.values()
                return
        raise SourceKeepsChanging(
            f"extract {name}: the source changed during each of {_READS} readings, so none was complete. A retry reads"
            " again."
        )

    def changed_at(self, name: str, record: Record) -> datetime | None:
        """Return the record's last update."""
        return time_in(record, self.updated_field)


@dataclass(frozen=True)
class JsonSource:
    """A source that lists records as JSON, page after page.

    :param path: with ``{object}`` for the object's name.
    :param records_key: where the records stand in the answer; ``None``: the answer is the array.
    :param next_key: where the next page's number stands; ``None``: pages are asked for until one is short.
    :param since_param: query parameter that filters by time in the data; ``None``: the source cannot.
    :param updated_param: query parameter that filters by time of change; ``None``: the source cannot.
    :param updated_field: the field with a record's time of change, for the watermark; dots reach inside.
    """

    conn_id: str
    path: str = "/{object}"
    records_key: str | None = "data"
    next_key: str | None = "next_page"
    page_param: str = "page"
    size_param: str = "per_page"
    page_size: int = api.PAGE_SIZE
    since_param: str | None = "since"
    updated_param: str | None = "updated_since"
    grain_param: str = "grain"
    updated_field: str | None = "updated_at"

    @cached_property
    def hook(self) -> EndpointHook:
        """The hook, made when the first record is wanted."""
        return EndpointHook(self.conn_id)

    @property
    def since_field(self) -> str | None:
        """What filters by time in the data."""
        return self.since_param

    def extract(
        self, name: str, *, since: datetime | None, updated_since: datetime | None, grain: str | None
    ) -> Iterator[Record]:
        """Read all records of an object, page after page as they are consumed."""
        if updated_since is not None and self.updated_param is None:
            raise unfilterable(name, "updated_since", "updated_param")
        if since is not None and self.since_param is None:
            raise unfilterable(name, "since", "since_param")
        bounds = {self.since_param: since, self.updated_param: updated_since}
        query: dict[str, Any] = {
            key: to_text(bound) for key, bound in bounds.items() if key and bound is not None
        }
        query |= {self.grain_param: grain, self.size_param: self.page_size}
        page: Any = 1
        while page is not None:
            call = api.json_page(
                self.path.format(object=name),
                {**query, self.page_param: page},
                self.records_key,
                self.next_key,
            )
            answer = self.hook.send(call)
            yield from answer.records
            if answer.next != "":
                page = answer.next
            else:
                page = page + 1 if len(answer.records) >= self.page_size else None

    def changed_at(self, name: str, record: Record) -> datetime | None:
        """Return the record's time of change."""
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

    def snapshot(self, name: str) -> Iterator[Record]:
        """Read all records of one object."""
        yield from self._send(api.list_records(name))

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
        return self.hook.send(replace(call, query={"token": token}) if token else call)


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
        names = ("path", "records_key", "next_key", "since_param", "updated_param", "updated_field")
        declared = {name: text for name in names if (text := hook.text(name))}
        return JsonSource(given, **{**declared, **options})
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


def bound_fields(
    source: Any, name: str, since: datetime | None, updated_since: datetime | None
) -> Mapping[str, datetime | None]:
    """Return field -> bound of a source that names a field for each.

    :raises UnfilterableBound: a bound was given without its field: never a silent full read.
    """
    bounds: dict[str, datetime | None] = {}
    for bound, field, option in (
        (since, source.since_field, "since_field"),
        (updated_since, source.updated_field, "updated_field"),
    ):
        if bound is not None and not field:
            raise unfilterable(
                name, option.removesuffix("_field").replace("updated", "updated_since"), option
            )
        if field and bound is not None:
            bounds[field] = max(bound, bounds[field]) if bounds.get(field) else bound  # type: ignore[type-var]
    return bounds


def unfilterable(name: str, bound: str, option: str) -> UnfilterableBound:
    """The error for a bound that a source has no field for."""
    return UnfilterableBound(
        f"extract {name}: {bound} is set, but the source has no {option} to filter by, and reading everything instead"
        f" would not be what was asked for. Name {option} at the source, or lift the bound with {bound}: null. Nothing was"
        " read; a retry cannot help before that."
    )


def time_in(record: Record, field: str | None) -> datetime | None:
    """Return the time in a field of a record; dots reach inside; ``None`` if there is none."""
    value: Any = record
    for step in (field or "").split("."):
        value = value.get(step) if isinstance(value, Mapping) else None
    try:
        return read_time(value)
    except ValueError:
        return None
