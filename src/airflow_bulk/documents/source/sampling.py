"""Some lines of what would be sent, told by a hash: a person who has the list can compare, and nobody else learns a line."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

#: Digits of a hash: enough that two lines of one source hardly ever share them.
HASH_DIGITS = 12


class SampledLine(NamedTuple):
    """One line.

    :param number: which of the lines that would be sent it is, from 1.
    :param sha256: the first digits of the SHA-256 of its bytes, without its line end.
    """

    number: int
    sha256: str


def spread(lines: int, count: int) -> list[int]:
    """Numbers of lines, from 0 and in order, spread evenly.

    :param lines: how many there are.
    :param count: how many are wanted; all where there are no more.
    """
    count = min(count, lines)
    return [(2 * number + 1) * lines // (2 * count) for number in range(count)]


def hash_lines(body: Iterable[bytes], wanted: Sequence[int]) -> Iterator[str]:
    """Hash lines of a body, without holding more of it than one line and one piece.

    :param body: its pieces, which may end anywhere; without a CSV header.
    :param wanted: numbers of lines, from 0 and in order.
    """
    left = iter(wanted)
    target = next(left, None)
    line, held = 0, bytearray()
    for piece in body:
        at = 0
        while target is not None and at < len(piece):
            if line < target and line + piece.count(b"\n", at) < target:
                line += piece.count(b"\n", at)
                break
            end = piece.find(b"\n", at)
            if line == target:
                held += piece[at : end if end >= 0 else len(piece)]
            if end < 0:
                break
            if line == target:
                yield _hash(held)
                held.clear()
                target = next(left, None)
            line, at = line + 1, end + 1
        if target is None:
            return
    if held:
        yield _hash(held)  # the last line may have no line end


def _hash(line: bytearray) -> str:
    return hashlib.sha256(bytes(line).removesuffix(b"\r")).hexdigest()[:HASH_DIGITS]
