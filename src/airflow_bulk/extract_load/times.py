"""The lower bounds of a batch: ``since`` (time in the data) and ``updated_since`` (time of change).

All forms of a value (extract_load.md section 5) become one: ISO 8601 text in UTC. Templates and the words ``window``
and ``watermark`` stay unchanged until a task runs, which replaces them by a time.
"""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta

#: How long before a watermark an extract begins: a change may become visible at the source a little after its own time.
DEFAULT_OVERLAP = timedelta(minutes=5)
WINDOW = "window"
WATERMARK = "watermark"
_MILLISECONDS_FROM = 10**11  # extract_load.md section 5 [assumed]
_FIRST_LIKELY_SECOND = 10**8  # March 1973; smaller numbers are probably dates without dashes


def read_time(value: object) -> datetime | None:
    """Return the instant that *value* names, in UTC; ``None`` for no bound.

    :param value: ISO 8601 date or date-time, Unix seconds or (above 10^11) milliseconds as number or digits,
        a date or datetime, ``None`` or an empty string. A time without a zone is UTC.
    :raises ValueError: for anything else; the message names the value.
    """
    if value is None:
        return None
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    if isinstance(value, bool):
        raise ValueError(f"{value!r} is not a time")  # noqa: TRY004
    if isinstance(value, int | float):
        return _from_number(value)
    if isinstance(value, str):
        return _from_text(value.strip())
    raise ValueError(f"a {type(value).__name__} is not a time")


def _from_text(text: str) -> datetime | None:
    if not text:
        return None
    if text.lstrip("-").isascii() and text.lstrip("-").isdigit():
        return _from_number(int(text))
    try:
        return read_time(datetime.fromisoformat(text))
    except ValueError:
        raise ValueError(
            f"{text[:60]!r} is not a time: write an ISO 8601 date or date-time (2026-03-29 or"
            " 2026-03-29T02:00:00Z) or Unix seconds"
        ) from None


def _from_number(number: float) -> datetime:
    if not math.isfinite(number):
        raise ValueError(f"{number!r} is not a time")
    seconds = number / 1000 if abs(number) > _MILLISECONDS_FROM else number
    try:
        return datetime.fromtimestamp(0, UTC) + timedelta(seconds=seconds)
    except OverflowError:
        raise ValueError(f"{number!r} is outside the years 1 to 9999") from None


def to_text(instant: datetime) -> str:
    """Return *instant* as ISO 8601 in UTC, e.g. ``2026-03-29T00:00:00+00:00``."""
    return instant.astimezone(UTC).isoformat()


def is_template(value: object) -> bool:
    """Return whether *value* is a Jinja template, which can be read only when a task runs."""
    return isinstance(value, str) and ("{{" in value or "{%" in value)


def normal_bound(value: object, *, words: frozenset[str] = frozenset()) -> str | None:
    """Return a bound as it is kept in a compiled batch: ISO text, a template, a word, or ``None``.

    :param value: any form of :func:`read_time`, a template, or one of *words*.
    :param words: the words allowed here, of :data:`WINDOW` and :data:`WATERMARK`.
    :raises ValueError: for any other value.
    """
    if is_template(value) or (isinstance(value, str) and value in words):
        return str(value)
    instant = read_time(value)
    return None if instant is None else to_text(instant)


def odd_digits(value: object) -> str | None:
    """Return a warning if *value* is digits that look like a date but count as Unix seconds."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    text = str(value).strip()
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < _FIRST_LIKELY_SECOND:
        return None
    return f"{text} counts as Unix seconds ({_from_number(int(text)).date()}); a date is written 2026-03-29"


def restart_of_grain(since: datetime | None, grain: str | None) -> datetime | None:
    """Widen *since* as the server does: a ``monthly`` report restarts in January, day kept.

    extract_load.md section 2.1 [seen]. Any other grain changes nothing.
    """
    if since is None or grain != "monthly":
        return since
    return since.replace(month=1)
