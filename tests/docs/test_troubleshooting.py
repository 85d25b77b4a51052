"""docs/troubleshooting.md names every text that a person may meet, and no other."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

import pytest
from user_messages import FILES_LEFT_OUT, LEFT_OUT, Message, messages, normal, short_messages

PAGE = "docs/troubleshooting.md"
#: A piece of code in markdown: it ends with as many backticks as it began with.
CODE = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)")


def templates(page: str, known: set[str]) -> dict[str, int]:
    """The texts that the page explains, each with its line: code in the first cell of a row, or alone in a list's line.

    :param known: the texts of the code. The code puts "Could not" before an act in one place; the page has both together, so
        that a reader finds them.
    """
    found = {}
    for number, line in enumerate(page.splitlines(), 1):
        if line.startswith("| `"):
            cell = re.split(r"(?<!\\)\|", line)[1]
        elif line.startswith("* `") and CODE.sub("", line[2:]).strip() == "":
            cell = line[2:]
        else:
            continue
        for one in CODE.finditer(cell):
            text = normal(one[2].replace("\\|", "|"))
            found[text if text in known else normal(text.removeprefix("Could not "))] = number
    return found


def missing(code: list[Message], page: dict[str, int]) -> list[str]:
    """What to write into the page: each text of the code that is neither there nor left out, with its place."""
    left_out = {normal(one) for group in LEFT_OUT.values() for one in group}
    told = []
    for one in code:
        if one.text not in page and one.text not in left_out:
            near = difflib.get_close_matches(one.text, page, 1, 0.7)
            hint = f"\n    instead of line {page[near[0]]}: {near[0]}" if near else ""
            told.append(f"{one.place}: {one.text}{hint}")
    return told


def stale(code: list[Message], page: dict[str, int]) -> list[str]:
    """What to take out of the page: each text there that the code does not have, with its line."""
    known = {one.text for one in code}
    return [f"{PAGE}:{line}: {text}" for text, line in page.items() if text not in known]


@pytest.fixture(scope="module")
def repository() -> Path:
    return Path(__file__).parents[2]


@pytest.fixture(scope="module")
def code(repository: Path) -> list[Message]:
    return messages(repository)


@pytest.fixture(scope="module")
def page(repository: Path, code: list[Message]) -> dict[str, int]:
    return templates((repository / PAGE).read_text(encoding="utf-8"), {one.text for one in code})


def test_every_text_of_the_code_is_on_the_page(code: list[Message], page: dict[str, int]) -> None:
    told = missing(code, page)
    assert not told, f"{PAGE} lacks:\n" + "\n".join(told)


def test_every_text_on_the_page_is_in_the_code(code: list[Message], page: dict[str, int]) -> None:
    told = stale(code, page)
    assert not told, "not in the code any more:\n" + "\n".join(told)


def test_what_is_left_out_is_in_the_code_and_not_on_the_page(
    repository: Path, code: list[Message], page: dict[str, int]
) -> None:
    named = [normal(one) for group in LEFT_OUT.values() for one in group]
    known = {one.text for one in code}
    assert [one for one in named if one not in known] == []
    assert [one for one in named if one in page] == []
    assert [name for name in FILES_LEFT_OUT if not (repository / name).exists()] == []


def test_no_error_and_no_warning_is_too_short_to_be_read(repository: Path) -> None:
    """The reader takes texts of two words: a message of one word would be missed."""
    assert short_messages(repository) == []
