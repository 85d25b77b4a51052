"""Cron texts of batch instances: five fields, UTC (mediarithmics.md section 8 [documented]; the zone is [assumed])."""

from __future__ import annotations

from datetime import UTC, datetime

from croniter import CroniterError, croniter

FIELDS = ("minute", "hour", "day of the month", "month", "day of the week")


class CronError(ValueError):
    """A text is not a cron schedule; the message says why."""


def read_cron(text: str) -> str:
    """Return a cron text with single blanks.

    :raises CronError: the text does not have five fields, a field cannot be read, or the schedule never fires.
    """
    fields = text.split()
    if len(fields) != len(FIELDS):
        raise CronError(f"must have five fields ({', '.join(FIELDS)}), not {len(fields)}")
    joined = " ".join(fields)
    try:
        next_fire(joined, datetime.now(UTC))
    except CroniterError as error:
        raise CronError(f"cannot be read: {error}") from None
    return joined


def next_fire(cron: str, after: datetime) -> datetime:
    """Return when a schedule fires next, strictly after a moment.

    :param after: with a time zone; the answer is UTC.
    """
    found: datetime = croniter(cron, after.astimezone(UTC)).get_next(datetime)
    return found


def cron_warning(cron: str) -> str | None:
    """Return a warning for a schedule that fires every minute of some time, such as ``* * * 7 *``; else None.

    That schedule is the vendor's own sample: it means every minute of July (mediarithmics.md section 8).
    """
    fields = cron.split()
    narrowed = [name for name, field in zip(FIELDS[1:], fields[1:], strict=True) if field not in ("*", "*/1")]
    if fields[0] not in ("*", "*/1") or not narrowed:
        return None
    return (
        f"cron {cron!r} fires every minute of the time that its other fields name ({', '.join(narrowed)}). "
        f"If it is meant to fire once, write 0 as its minute."
    )
