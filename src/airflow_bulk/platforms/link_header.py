"""The header ``Link`` of RFC 8288, read strictly: a next page that is overlooked makes a list end too early."""

from __future__ import annotations

import re

#: Relations that only a list in pages has. Links of other relations say nothing about its pages.
OF_PAGES = frozenset({"first", "last", "next", "prev", "previous"})

_BLANKS_AND_COMMAS = re.compile(r"[\s,]*")
_TARGET = re.compile(r"<([^<>]*)>\s*")
# ; name, ; name=value, ; name="value with \" inside"; a lone ; is overlooked, as the RFC's own algorithm does.
_PARAMETER = re.compile(r";\s*(?:([^\s=;,\"<>]+)\s*(?:=\s*(?:\"((?:[^\"\\]|\\.)*)\"|([^\s;,\"]*))\s*)?)?")
_ESCAPED = re.compile(r"\\(.)")


def read_links(header: str) -> dict[str, str]:
    """Return relation, in lower case -> target as written. Of several targets the first counts.

    A link with an ``anchor`` is one of another resource, and is left out (RFC 8288 section 3.2).

    :param header: the header; several headers are joined by commas.
    :raises ValueError: it is no such header. The text is not told.
    """
    links: dict[str, str] = {}
    place = _end(_BLANKS_AND_COMMAS.match(header))
    while place < len(header):
        found = _TARGET.match(header, place)
        if found is None:
            raise ValueError("a link does not begin with <")
        place = found.end()
        parameters: dict[str, str] = {}
        while parameter := _PARAMETER.match(header, place):
            place = parameter.end()
            name, quoted, plain = parameter.groups()
            if name:  # of two of one name the first counts
                text = (plain or "").strip("'") if quoted is None else _ESCAPED.sub(r"\1", quoted)
                parameters.setdefault(name.lower(), text)
        if place < len(header) and header[place] != ",":
            raise ValueError("a parameter of a link has no end")
        place = _end(_BLANKS_AND_COMMAS.match(header, place))
        if "anchor" not in parameters:
            for relation in parameters.get("rel", "").lower().split():
                links.setdefault(relation, found[1].strip())
    return links


def _end(found: re.Match[str] | None) -> int:
    return found.end() if found else 0
