"""What a line for the Depot must be. Sending processes import this module, so it imports nothing of Airflow."""

from __future__ import annotations

import msgspec


class Record(msgspec.Struct):
    """A record; whatever else it has is the Depot's to read."""

    sku: str


_record = msgspec.json.Decoder(Record)


def check_line(line: bytes) -> list[str]:
    """Say what is wrong with a line, without a word of its content; nothing for a good one."""
    try:
        record = _record.decode(line)
    except (msgspec.DecodeError, RecursionError):
        return ["is no JSON object with a text in sku"]
    return [] if record.sku else ["sku is empty"]
