"""Lines of a platform of your own: a function of yours says what is wrong with a line.

The function takes a line as bytes, without its newline, and returns the reasons against it: sentences that hold nothing
of the line's content, for they go to logs. None is good. It is asked about every line that is not blank, is UTF-8 and
holds no NUL byte.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable

from airflow_bulk.documents.lines.faults import byte_reasons
from airflow_bulk.documents.source.parts import LineCheckFailed


def load_check(name: str) -> Callable[[bytes], list[str]]:
    """Import the function that checks a line.

    :param name: ``package.module:function``. A sending process imports it, too: its module must not import Airflow.
    :raises LineCheckFailed: there is no such function.
    """
    module, _, function = name.partition(":")
    try:
        found: Callable[[bytes], list[str]] = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise LineCheckFailed(
            f"The line check {name!r} cannot be imported ({error}); mend it, a retry tries again."
        ) from None
    return found


class OwnReading:
    """Asks the function for each line.

    :param name: ``package.module:function``.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._check = load_check(name)

    def suspects(self, lines: list[bytes]) -> Iterable[int]:
        """All lines: only the function knows."""
        return range(len(lines))

    def reasons(self, line: bytes) -> list[str]:
        """Look at the bytes, then ask the function.

        :raises LineCheckFailed: what the function said may hold the line, so only the kind of error is named.
        """
        found = byte_reasons(line)
        if found:
            return found
        try:
            return list(self._check(line))
        except Exception as error:  # noqa: BLE001 (it is not our function)
            kind = type(error).__name__
        raise LineCheckFailed(
            f"The line check {self._name!r} failed with {kind}; mend it, a retry checks again."
        )

    def hints(self, line: bytes) -> Iterable[str]:
        """None: a function gives reasons alone."""
        return ()

    def warnings(self, lines: Iterable[bytes]) -> Iterable[str]:
        """None, likewise."""
        return ()
