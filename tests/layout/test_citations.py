"""What docstrings, comments and pages cite can be read: each cited section is a numbered heading of its sheet.

The sheets are ``docs/facts/*.md`` and ``ARCHITECTURE.md``. A citation names its sheet (``airflow.md section 1.3``), or
stands bare in a file that names one. A numbered conflict or question is a row of a table in a sheet.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from distributions import left_by_tools

MARKS = {"documented", "seen", "assumed", "measured"}

_NUMBER = r"\d+(?:\.\d+)*"
_NUMBERS = rf"{_NUMBER}(?:(?:, and |, | and | to ){_NUMBER})*"
_HEADING = re.compile(rf"^##+ ({_NUMBER})\.? ", re.MULTILINE)
_ROW = re.compile(r"^\| *(\d+) *\|", re.MULTILINE)
#: ``sections 1, 2.2 and 4``, with the sheet before it, if there is one.
_SECTION = re.compile(
    rf"(?P<sheet>[\w./-]+\.md,? )?\b[Ss]ection(?:s (?P<many>{_NUMBERS})| (?P<one>{_NUMBER}))"
    rf"(?: \[(?P<mark>[a-z]+))?"
)
_ROWS = re.compile(
    r"(?P<sheet>[\w./-]+\.md,? )?\b(?:[Cc]onflict|[Qq]uestion|(?<=, )row)"
    r"(?:s (?P<many>\d+(?:(?:, | and | to )\d+)*)| (?P<one>\d+))\b"
)
#: Sections of other people's texts.
_FOREIGN = re.compile(r"\bRFC \d+,? $")
#: Names of sheets that are in nobody's hands, and other ways to cite than by section.
_UNKNOWN = re.compile(
    r"[\w.-]+-facts\.md|\b\w* ?\bfacts, (?:section|item) \d+|\b[Dd]esign(?:\.md)?,? (?:sections? )?\d+|[\w./-]+\.md,? item \d+"
)


class Sheet(NamedTuple):
    """What can be cited of a sheet: its numbered headings, and the numbered rows of its tables."""

    sections: frozenset[str]
    rows: frozenset[str]

    @classmethod
    def read(cls, text: str) -> Sheet:
        return cls(frozenset(_HEADING.findall(text)), frozenset(_ROW.findall(text)))


def known_sheets(root: Path) -> dict[str, Sheet]:
    """The sheets of the repository by their short names."""
    paths = [*sorted((root / "docs" / "facts").glob("*.md")), root / "ARCHITECTURE.md"]
    return {path.name: Sheet.read(path.read_text(encoding="utf-8")) for path in paths}


def plain(text: str) -> str:
    """The text on one line: a citation may go on behind a line end, an indentation and a comment sign."""
    return re.sub(r"\s*\n[ \t]*(?:#:?[ \t]+)?", " ", text)


def numbers(match: re.Match[str]) -> list[str]:
    """The numbers that a citation names, those between the ends of ``1.3 to 1.6`` as well."""
    if match["one"]:
        return [match["one"]]
    found: list[str] = []
    for part in re.split(r", and |, | and ", match["many"]):
        first, _, last = part.partition(" to ")
        found.append(first)
        if last:
            stem, _, start = first.rpartition(".")
            end = last.rpartition(".")[2]
            inner = range(int(start) + 1, int(end) + 1)
            found += [f"{stem}.{number}" if stem else str(number) for number in inner]
    return found


def broken(
    text: str, sheets: dict[str, Sheet], own: Sheet | None = None, *, bare: bool = True
) -> Iterator[str]:
    """Yield what a text cites and nobody can read.

    :param own: the sheet that the text is itself; bare citations are its own.
    :param bare: whether citations without a sheet are looked at.
    """
    text = plain(text)
    named = [sheet for name, sheet in sheets.items() if re.search(rf"(?<![\w-]){re.escape(name)}", text)]
    named = [own] if own else named
    yield from (f"{match.group()}: no such sheet" for match in _UNKNOWN.finditer(text))
    for pattern, kind in ((_SECTION, "sections"), (_ROWS, "rows")):
        for match in pattern.finditer(text):
            if _FOREIGN.search(text[max(0, match.start() - 20) : match.start()]):
                continue
            if path := (match["sheet"] or "").rstrip(", "):
                sheet = sheets.get(path.removeprefix("docs/facts/"))
                if sheet is None:
                    yield f"{match.group()}: no such sheet"
                    continue
                there: Iterable[str] = getattr(sheet, kind)
            elif bare:
                there = {number for sheet in named for number in getattr(sheet, kind)}
            else:
                continue
            if missing := [number for number in numbers(match) if number not in there]:
                yield f"{match.group()}: {', '.join(missing)} is not there"
            mark = match.groupdict().get("mark")
            if mark and mark not in MARKS:
                yield f"{match.group()}: no such mark"


def citing_files(root: Path) -> Iterator[Path]:
    """Every .py, .md and .json file of the checkout; links are not followed."""
    for folder, names, files in os.walk(root):
        names[:] = [n for n in names if not left_by_tools(n) and not Path(folder, n).is_symlink()]
        yield from (
            Path(folder, n) for n in files if n.endswith((".py", ".md", ".json")) and n != "CHANGELOG.md"
        )


def test_every_cited_section_exists(repository: Path) -> None:
    sheets = known_sheets(repository)
    wrong = {}
    for path in citing_files(repository):
        if path == Path(__file__).resolve():
            continue
        own = sheets[path.name] if path.parent == repository / "docs" / "facts" else None
        found = broken(
            path.read_text(encoding="utf-8"), sheets, own, bare=path.suffix != ".md" or own is not None
        )
        if listed := list(found):
            wrong[str(path.relative_to(repository))] = listed
    assert not wrong


def test_a_section_has_one_heading(repository: Path) -> None:
    for name in known_sheets(repository):
        folder = repository if name == "ARCHITECTURE.md" else repository / "docs" / "facts"
        headings = _HEADING.findall((folder / name).read_text(encoding="utf-8"))
        assert headings, name
        assert len(headings) == len(set(headings)), name


def test_every_file_that_a_sheet_names_exists(repository: Path) -> None:
    own = re.compile(r"`((?:tests|benchmarks|demo|docs|src)/[\w./-]+)`")
    for path in sorted((repository / "docs" / "facts").glob("*.md")):
        if path.name == "extract_load.md":
            continue  # its folders are those of the server's own repository
        named = set(own.findall(path.read_text(encoding="utf-8")))
        assert {name for name in named if not (repository / name).exists()} == set(), path.name


SAMPLES = {
    "bulk.md": Sheet.read(
        "## 1. A\n## 2. B\n### 2.1 C\n### 2.2 D\n### 2.3 E\n## 4. F\n\n| # | q |\n| 1 | x |\n| 2 | y |\n"
    ),
    "ARCHITECTURE.md": Sheet.read("## 5. Exactly once\n### 5.1 Identity\n"),
}


@pytest.mark.parametrize(
    "text",
    [
        "bulk.md section 3",
        "bulk.md section 2.4 [seen]",
        "bulk.md section\n    9",
        "# bulk.md\n# section 9 says so",
        "bulk.md sections 1, 2 and 3",
        "bulk.md sections 2.1 to 2.4",
        "bulk.md sections 1 to 4",
        "bulk.md, section 7",
        "docs/facts/bulk.md section 7",
        "other.md section 1",
        "docs/bulk.md section 1",
        "ARCHITECTURE.md section 5.2",
        "airflow-crash-facts.md says so",
        "see crash facts, item 4",
        "(facts, section 5)",
        "bulk.md item 4",
        "design section 5.1",
        "Design 5.1 says so",
        "section 1, and no sheet is named",
        "bulk.md; section 5 is not there",
        "Facts: bulk.md.\n\n# Section 2.9",
        "bulk.md conflict 3",
        "bulk.md: question 5 of section 1",
        "bulk.md: conflicts 1 to 3",
        "bulk.md section 1, row 3",
        "conflict 1, and no sheet is named",
        "bulk.md section 1 [seed]",
    ],
)
def test_a_wrong_citation_is_seen(text: str) -> None:
    assert list(broken(text, SAMPLES))


@pytest.mark.parametrize(
    "text",
    [
        "bulk.md section 2.1 [seen]: yes",
        "bulk.md section 2.1 b to d",
        "bulk.md sections 1, 2.1 and 4",
        "bulk.md sections 2.1 to 2.3",
        "bulk.md\nsections 1 and 2",
        "Facts: bulk.md. Section 2.2, question 2 and conflict 1.",
        "bulk.md section 1, row 2",
        "bulk.md: see section 4, 10 parts",
        "ARCHITECTURE.md section 5.1",
        "[a page](bulk.md) and RFC 9562, section 5.1",
        "what the page calls section",
    ],
)
def test_a_right_citation_passes(text: str) -> None:
    assert not list(broken(text, SAMPLES))


def test_a_page_of_the_repository_may_have_sections_of_its_own() -> None:
    assert not list(broken("See section 9 below.", SAMPLES, bare=False))
    assert list(broken("See bulk.md section 9.", SAMPLES, bare=False))
    assert list(broken("See section 9 below.", SAMPLES, own=SAMPLES["bulk.md"]))
