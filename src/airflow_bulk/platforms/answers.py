"""How the JSON of an answer is read: any bytes are a record or a ``ValueError``, and nothing else.

msgspec raises a ``RecursionError`` where values are nested more deeply than the stack allows, which is no ``ValueError``: a
proxy's page or a hostile platform could end a task with it in the middle of a decision.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import msgspec

#: An id that the platform gives: without one, nothing can be asked for again.
RemoteId = Annotated[str, msgspec.Meta(min_length=1)]


def json_reader(kind: Any, **options: Any) -> Callable[[bytes], Any]:
    """Return a function that reads bytes as JSON of this type.

    :param kind: what msgspec decodes into.
    :param options: of ``msgspec.json.Decoder``.
    :raises ValueError: (the returned function) the bytes are no such JSON.
    """
    decode = msgspec.json.Decoder(kind, **options).decode

    def read(body: bytes) -> Any:
        try:
            return decode(body)
        except RecursionError:
            raise ValueError("the JSON is nested too deeply") from None

    return read


def seconds(milliseconds: int | None) -> float | None:
    """Return a time in seconds; None where there is none, or it is too large to be one.

    :param milliseconds: since 1970, as the platform wrote it.
    """
    try:
        return None if milliseconds is None else milliseconds / 1000
    except OverflowError:
        return None
