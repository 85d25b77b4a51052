"""What the first bytes of a file tell: in which line its content begins, and whether it is text with lines at all."""

from __future__ import annotations

import re
from typing import NamedTuple

from airflow_bulk.documents.source.contents import FIRST_LOOK, Contents

BOM = b"\xef\xbb\xbf"
LONGEST_LOOK = 4 << 20  # bytes of one line that are held to see how it ends

# How a text in another encoding begins, with a byte order mark or without (the first two characters of a command and of a
# CSV header are ASCII); its name for `iconv`; and what it is exactly.
ENCODINGS = (
    (re.compile(rb"\xff\xfe\0\0"), "utf-32", "utf-32le"),
    (re.compile(rb"\0\0\xfe\xff"), "utf-32", "utf-32be"),
    (re.compile(rb"\xff\xfe[^\0]\0"), "utf-16", "utf-16le"),
    (re.compile(rb"\xfe\xff\0[^\0]"), "utf-16", "utf-16be"),
    (re.compile(rb"[^\0]\0\0\0"), "utf-32le", "utf-32le"),
    (re.compile(rb"\0\0\0[^\0]"), "utf-32be", "utf-32be"),
    (re.compile(rb"[^\0]\0[^\0]\0"), "utf-16le", "utf-16le"),
    (re.compile(rb"\0[^\0]\0[^\0]"), "utf-16be", "utf-16be"),
)
# Blanks, control characters, no-break and zero-width spaces, separators of lines, and a BOM: where files were put together,
# one may stand behind blank lines.
UNSEEN = re.compile(
    rb"(?:[\s\0\x1a\x1c-\x1f]++|\xc2[\x85\xa0]|\xe2\x80[\x8b-\x8f\xa8\xa9]|\xe2\x81\xa0|\xef\xbb\xbf)+"
)
TWO_OBJECTS = re.compile(rb"\}[ \t]*\r\s*\{")


class FirstLine(NamedTuple):
    """The first line of a file that is not blank.

    :param number: its number in the file.
    :param data: the line with its line end; of an object that is longer than 4 MiB, and of other lines that are longer
        than the first look, the beginning.
    :param behind: what was read behind it, from where there is more than blanks.
    """

    number: int
    data: bytes
    behind: bytes


def read_at(contents: Contents, offset: int, size: int) -> bytes:
    """Return so many plain bytes from an offset on; fewer at the end of the file."""
    buffer = bytearray(size)
    return bytes(buffer[: contents.readinto(memoryview(buffer), offset)])


def find_first_line(contents: Contents, held: bytes, offset: int) -> FirstLine:
    """Find the first line that is not blank, in flat memory however many blank ones stand before it.

    :param held: what was read from the offset on.
    """
    number = 1
    while blank := _blank(held):
        number += held.count(b"\n", 0, blank)
        offset, held = offset + blank, held[blank:]
        held += read_at(contents, offset + len(held), FIRST_LOOK - len(held))
    while b"\n" not in held and held.startswith(b"{") and len(held) < LONGEST_LOOK:
        more = read_at(contents, offset + len(held), len(held))
        if not more:
            break
        held += more
    stop = held.find(b"\n") + 1 or len(held)
    behind, place = held[stop:], offset + len(held)
    while not behind.strip() and (behind := read_at(contents, place, FIRST_LOOK)):
        place += len(behind)
    return FirstLine(number, held[:stop], behind)


def _blank(data: bytes) -> int:
    """Return how many bytes a person would not see at the beginning."""
    unseen = UNSEEN.match(data)
    return unseen.end() if unseen else 0


def other_encoding(first: bytes) -> str | None:
    """Tell from the first bytes of a file that its text is UTF-16 or UTF-32.

    :return: why the whole file is refused, with the way out; ``None`` if nothing speaks against UTF-8.
    """
    for start, name, exactly in ENCODINGS:
        # Where lines end as in UTF-8 after all, good ones may stand behind a damaged one.
        if start.match(first) and (b"\n" not in first or _has_lines(first, exactly)):
            return (
                f"its text is {name[:6].upper()}, but has to be UTF-8; "
                f"`iconv -f {name} -t utf-8 FILE > NEW_FILE` writes it so"
            )
    return None


def _has_lines(first: bytes, encoding: str) -> bool:
    return "\n" in first.decode(encoding, "ignore") and not re.search(rb"\}\r?\n\{", first)


def ends_in_cr(line: bytes, behind: bytes, between: re.Pattern[bytes]) -> str | None:
    """Tell that the lines of a file end in CR alone, so that it is all one line.

    :param line: its first line, or as much of it as was read.
    :param behind: what was read behind that line.
    :param between: what stands between two lines then.
    :return: why the whole file is refused, with the way out; ``None`` if it is not so.
    """
    if line.endswith(b"\n") and behind.strip():
        return None
    if not between.search(line.strip()):
        return None
    return (
        "its lines end in CR alone, as in old Mac exports, but have to end in LF; "
        "`tr '\\r' '\\n' < FILE > NEW_FILE` writes them so"
    )
