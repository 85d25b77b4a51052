"""A source that lists records as JSON: any API that gives a list in pages, or in one answer."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from functools import cached_property
from typing import Any

from airflow_bulk.extract_load.mapping import Record
from airflow_bulk.extract_load.readings import (
    PageOfRecords,
    Pages,
    PagesMoved,
    RecordReading,
    if_it_grows,
    read_pages,
)
from airflow_bulk.extract_load.times import to_text
from airflow_bulk.hooks.extract_load import EndpointHook
from airflow_bulk.hooks.extract_load_bounds import time_in, unfilterable
from airflow_bulk.hooks.network import origin
from airflow_bulk.hooks.platform_hook import ConnectionFieldError
from airflow_bulk.platforms.call import Call
from airflow_bulk.platforms.errors import NotFound, Refused
from airflow_bulk.platforms.extract_load_endpoints import PAGE_SIZE
from airflow_bulk.platforms.json_lists import (
    ERROR_KEYS,
    JsonList,
    JsonPage,
    ask,
    ask_total,
    type_of,
    whole_number,
)
from airflow_bulk.platforms.paging import NAMED, NEXT_KEYS, Ask, End, Paging

#: ``next_key`` of a source that names none: the usual one of its paging.
USUAL = "usual"
#: The option that says which parameter asks for a page, by paging.
_PARAMS = {
    "number": "page_param",
    "offset": "offset_param",
    "cursor": "cursor_param",
    "key": "after_param",
}


@dataclass(frozen=True)
class JsonSource:
    """A source that lists records as JSON, page after page.

    ``paging`` says how the pages follow each other:

    * ``"number"``: ``?page=2``. The answer names the next number in ``next_key``; with ``next_key=None`` pages are asked for
      until one is empty, or ``total_key`` is reached. A URL in ``next_key`` is followed.
    * ``"offset"``: ``?offset=100``, likewise; the next page begins after the records that came.
    * ``"cursor"``: ``?cursor=...`` as ``next_key`` names it.
    * ``"url"``: ``next_key`` names the URL of the next page, relative or whole.
    * ``"link"``: the header ``Link: <...>; rel="next"`` names it (RFC 8288).
    * ``"key"``: ``?after=`` the last record's ``id_field``, until a page is empty. Records are listed by that field, so no
      change moves one from page to page.
    * ``"none"``: one answer holds all.

    A URL at another origin than the connection's is followed without credentials. The answer's keys may be dotted:
    ``paging.next.after``. Wrong combinations are refused when the source is made.

    :param conn_id: connection of type ``extract_load``: base URL, and a bearer token in the password.
    :param path: with ``{object}`` for the object's name.
    :param records_key: where the records stand in the answer, may hold ``{object}``; ``None``: the answer is the array.
    :param next_key: where the next page is named: ``next_page`` with number, ``next_cursor`` with cursor, ``next`` with url.
        A page without this key is an error, and one that holds null there is the last. ``None``: nothing names it.
    :param since_param: query parameter that filters by time in the data; ``None``: the source cannot.
    :param updated_param: query parameter that filters by time of change; ``None``: the source cannot.
    :param updated_field: the field with a record's time of change, for the watermark; dots reach inside.
    :param paging: one of the words above.
    :param size_param: query parameter for the records of a page; ``None``: there is none.
    :param page_size: how many records of a page are asked for; a server may give fewer.
    :param first_page: the number of the first page.
    :param id_field: the field that tells records apart, dots reach inside; ``None``: ``id`` or ``Id``.
    :param more_key: where true or false says whether more follow; ``None``: nothing says it. Where it is false the list ends,
        whatever ``next_key`` names.
    :param last_page_omits_next: the last page has no ``next_key``. A reading rests on that only if an earlier page had it.
    :param total_key: where the answers say how many records the list has; the reading must bring as many.
    :param total_header: the header that says it, such as ``X-Total-Count``.
    :param count_path: a path that answers how many there are, asked before and after the reading, with the same filters.
    :param count_key: where the number stands in that answer; ``None``: the answer is the number.
    :param read_twice: read a list of several pages again, and compare. False for a list that nobody changes meanwhile, and for
        ``paging="key"`` where the API lists what is *greater* than the key. One that looks up the record with that key loses its
        place when that record is deleted.
    :param error_keys: keys that say, in an answer of status 200, that it failed, unless they are empty.
    """

    conn_id: str
    path: str = "/{object}"
    records_key: str | None = "data"
    next_key: str | None = USUAL
    page_param: str = "page"
    size_param: str | None = "per_page"
    page_size: int = PAGE_SIZE
    since_param: str | None = "since"
    updated_param: str | None = "updated_since"
    grain_param: str = "grain"
    updated_field: str | None = "updated_at"
    paging: str = "number"
    offset_param: str = "offset"
    cursor_param: str = "cursor"
    after_param: str = "after"
    first_page: int = 1
    id_field: str | None = None
    more_key: str | None = None
    last_page_omits_next: bool = False
    total_key: str | None = None
    total_header: str | None = None
    count_path: str | None = None
    count_key: str | None = "count"
    read_twice: bool = True
    error_keys: tuple[str, ...] = ERROR_KEYS

    def __post_init__(self) -> None:
        if problem := _misfit(self):
            raise ValueError(f"JsonSource of connection {self.conn_id!r}: {problem}.")

    @cached_property
    def hook(self) -> EndpointHook:
        """The hook, made when the first record is wanted."""
        return EndpointHook(self.conn_id)

    @property
    def since_field(self) -> str | None:
        """What filters by time in the data."""
        return self.since_param

    def unproven(self, name: str) -> str | None:
        """Return why a reading of an object never shows that it is complete; ``None`` if it can."""
        if self.paging == "none" and not (self.total_key or self.total_header or self.count_path):
            return (
                'paging="none" brings one answer, and nothing says that it holds all records: name total_key, total_header or'
                " count_path"
            )
        return None

    def extract(
        self, name: str, *, since: datetime | None, updated_since: datetime | None, grain: str | None
    ) -> RecordReading:
        """Read all records of an object, page after page as they are consumed.

        :raises UnfilterableBound: a bound was given, and the source has no parameter for it.
        :raises PagesMoved: (while it is read) the list changed meanwhile.
        """
        if updated_since is not None and self.updated_param is None:
            raise unfilterable(name, "updated_since", "updated_param")
        if since is not None and self.since_param is None:
            raise unfilterable(name, "since", "since_param")
        bounds = {self.since_param: since, self.updated_param: updated_since}
        filters: dict[str, Any] = {
            key: to_text(bound) for key, bound in bounds.items() if key and bound is not None
        }
        if grain is not None:
            filters[self.grain_param] = grain
        return read_pages(functools.partial(self._pages, name, filters), self.id_field, twice=self.read_twice)

    def changed_at(self, name: str, record: Record) -> datetime | None:
        """Return the record's time of change."""
        return time_in(record, self.updated_field)

    def _pages(self, name: str, filters: Mapping[str, Any], size: int | None = None) -> Pages:
        """Read the list.

        :param size: how many records of a page the server gives, where that is known.
        """
        path = self.path.format(object=name)
        listed = JsonList(
            self.records_key and self.records_key.format(object=name),
            next_key_of(self),
            self.more_key,
            self.total_key,
            self.total_header,
            self.error_keys,
        )
        counted = self._count(name, filters)
        place = path.partition("?")[0]  # for people: a query may hold a key
        walk = self._paging(size).walk(self.hook.endpoint.base_url + path, f"read {place}")
        then: Ask | End = walk.first()
        number = 0
        held: list[PageOfRecords] = []
        places = {origin(self.hook.endpoint.base_url)}
        while isinstance(then, Ask):
            number += 1
            if then.url and (other := origin(then.url)) not in places:
                places.add(other)
                self.hook.log.warning(
                    "The next page is at %s, another place than the connection's; it gets no credentials.",
                    other,
                )
            query = {} if then.url else {**filters, **then.query}
            call = ask(path, f"read page {number} of {place}", listed, query=query, url=then.url)
            page = self._send(call, number)
            total = page.total if counted is None else counted
            then = walk.after(
                page, total
            )  # before the records are passed on: a page that comes again is told as such
            if walk.capped:
                size = walk.paging.page_size
                self.hook.log.info(
                    "The server gives %d records of a page where %d are asked for. %s is read from its beginning in pages of %d."
                    " page_size=%d saves that.",
                    *(size, self.page_size, place, size, size),
                )
                return (yield from self._pages(name, filters, size))
            held.append(PageOfRecords(page.records, total))
            if not walk.undecided:
                yield from held
                held.clear()
        yield from held
        if counted is not None and (after := self._count(name, filters)) != counted:
            raise PagesMoved(f"the count was {counted} before and {after} after{if_it_grows(counted, after)}")
        return then.rests_on

    def _send(self, call: Call[JsonPage], number: int) -> JsonPage:
        """Ask for a page; one that is refused may be no page any more, or one behind the last."""
        try:
            return self.hook.send(call)
        except (Refused, NotFound) as error:
            if number == 1:
                raise
            if self.paging in NAMED:
                raise PagesMoved(
                    f"page {number} was refused ({error.status}): what it was asked for with may be gone"
                ) from None
            if next_key_of(self) is None and not (self.total_key or self.total_header or self.count_path):
                why = f"{error.why}. If the page is behind the last one, name total_key, total_header or count_path"
                raise type(error)(error.what, why, retry=error.retry, status=error.status) from None
            raise

    def _count(self, name: str, filters: Mapping[str, Any]) -> int | None:
        if self.count_path is None:
            return None
        path = self.count_path.format(object=name)
        return self.hook.send(
            ask_total(
                path,
                f"read {path.partition('?')[0]}",
                self.count_key,
                query=filters,
                error_keys=self.error_keys,
            )
        )

    def _paging(self, size: int | None) -> Paging:
        return Paging(
            self.paging,
            next_key_of(self),
            str(getattr(self, _PARAMS.get(self.paging, "page_param"))),
            self.size_param if self.paging != "none" else None,
            size or self.page_size,
            self.first_page,
            self.id_field or "id",
            self.more_key,
            self.last_page_omits_next,
            size_known=size is not None,
        )


def next_key_of(source: JsonSource) -> str | None:
    """Return where the next page is named: the usual key of its paging if the author named none."""
    if source.next_key != USUAL:
        return source.next_key
    # An array has no keys; and who says whether more follow names the next page seldom.
    if source.records_key is None or (source.more_key and source.paging == "number"):
        return None
    return NEXT_KEYS[source.paging]


def _misfit(source: JsonSource) -> str | None:
    """Return which options do not go together; ``None`` if all do."""
    paging, next_key = source.paging, source.next_key
    if paging not in NEXT_KEYS:
        near = difflib.get_close_matches(str(paging), NEXT_KEYS, n=1)
        meant = f", perhaps {near[0]!r}" if near else ""
        return f"paging={paging!r} is none of {', '.join(NEXT_KEYS)}{meant}"
    defaults = {one.name: one.default for one in fields(source)}
    for style, option in _PARAMS.items():
        if style != paging and getattr(source, option) != defaults[option]:
            return f"{option} belongs to paging={style!r}, and paging is {paging!r}"
    for name in ("page_size", "first_page"):
        if not isinstance(number := getattr(source, name), int) or isinstance(number, bool):
            return f"{name} must be a whole number, and is {type_of(number)}"
    if problem := _bad_path(source):
        return problem
    if source.page_size < 1:
        return f"page_size is {source.page_size}, and must be 1 or more"
    if source.first_page < 0:
        return f"first_page is {source.first_page}, and must be 0 or more"
    if isinstance(source.error_keys, str):
        return f"error_keys is text: write error_keys=({source.error_keys!r},)"
    if source.first_page != 1 and paging != "number":
        return f"first_page belongs to paging='number', and paging is {paging!r}"
    if paging in ("link", "key", "none") and next_key not in (USUAL, None):
        return f"next_key is given, but paging={paging!r} reads none"
    if paging in ("cursor", "url") and next_key_of(source) is None:
        return f"paging={paging!r} needs a next_key, and an answer that is no bare array (records_key)"
    if paging in ("link", "none") and source.more_key:
        return f"more_key is given, but paging={paging!r} reads none"
    if paging == "none" and source.size_param not in (None, defaults["size_param"]):
        return "size_param is given, but paging='none' asks for no pages: write it into path"
    if source.count_key != defaults["count_key"] and not source.count_path:
        return "count_key is given, but no count_path"
    if source.last_page_omits_next and next_key_of(source) is None:
        return "last_page_omits_next is given, but no next_key"
    if source.records_key is None and (
        keys := [
            one for one in ("next_key", "more_key", "total_key") if getattr(source, one) not in (None, USUAL)
        ]
    ):
        return f"{keys[0]} is given, but with records_key=None the answer is an array, which has no keys"
    if sum(map(bool, (source.total_key, source.total_header, source.count_path))) > 1:
        return "name one of total_key, total_header and count_path"
    return None


def _bad_path(source: JsonSource) -> str | None:
    for name in ("path", "count_path", "records_key"):
        text = getattr(source, name)
        try:
            named = text is None or text.format(object="x")
        except (KeyError, IndexError, ValueError):
            return f"{name} may hold {{object}} for the name of the object, and no other braces"
        if name != "records_key" and named and text and not text.startswith("/"):
            return f"{name} must begin with /: the connection has the base URL before it"
    return None


def json_source_of(conn_id: str, hook: EndpointHook, options: Mapping[str, Any]) -> JsonSource:
    """Return the source that a connection describes: its extra fields have the names of the options.

    :param options: what wins over the connection.
    :raises ConnectionFieldError: an extra field does not fit.
    """
    extra: Mapping[str, Any] = hook.connection.extra_dejson
    declared = {
        one.name: _declared(hook, one.name, str(one.type), extra[one.name])
        for one in fields(JsonSource)
        if one.name != "conn_id" and _is_given(extra.get(one.name, ""), str(one.type))
    }
    names = [one.name for one in fields(JsonSource)]
    for unknown in sorted(set(extra) - set(names)):
        if near := difflib.get_close_matches(unknown, names, n=1, cutoff=0.8):
            raise ConnectionFieldError(
                f"Connection {conn_id!r}: extra field {unknown!r:.60} is no option of a JsonSource; perhaps {near[0]} is meant."
            )
    try:
        return JsonSource(conn_id, **{**declared, **options})
    except ValueError as error:
        raise ConnectionFieldError(f"Connection {conn_id!r}: {error}") from None


def _is_given(value: Any, kind: str) -> bool:
    """Whether an extra field says anything: a form leaves it empty, and null says none where there may be none."""
    return "None" in kind if value is None else not isinstance(value, str) or bool(value.strip())


def _declared(hook: EndpointHook, name: str, kind: str, value: Any) -> Any:
    """Return the option that an extra field stands for.

    :param kind: the type of the option.
    :raises ConnectionFieldError: it is of another type.
    """
    if value is None:
        return None
    if "bool" in kind:
        return hook.flag(name, False)
    if kind == "int":
        if (number := whole_number(value)) is None:
            raise ConnectionFieldError(
                f"Connection {hook.conn_id!r}: field {name} must be a whole number, and holds {type_of(value)}."
            )
        return number
    names = value.split(",") if isinstance(value, str) and "tuple" in kind else value
    if "tuple" in kind and isinstance(names, list) and all(isinstance(one, str) for one in names):
        return tuple(stripped for one in names if (stripped := one.strip()))
    if "tuple" in kind or not isinstance(value, str):
        wanted = "text, or an array of text" if "tuple" in kind else "text"
        raise ConnectionFieldError(
            f"Connection {hook.conn_id!r}: field {name} must be {wanted}, and holds {type_of(value)}."
        )
    return value.strip()
