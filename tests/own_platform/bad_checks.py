"""A check of lines as nobody should write it. In a module of its own: a sending process imports it by its name."""

from __future__ import annotations


def careless(line: bytes) -> list[str]:
    """Fail, with an error that quotes the line."""
    raise KeyError(line)


def one_sentence(line: bytes) -> str:
    """Return a sentence where a list of them is asked for."""
    return "the sku is empty"


def nothing(line: bytes) -> None:
    """Return nothing for a good line."""


def no_sentences(line: bytes) -> list[int]:
    """Return reasons that are no text."""
    return [7]
