"""Lines of a platform of your own: a function of yours says what is wrong with a line.

The function takes a line as bytes, without its newline, and returns a list of the reasons against it: sentences that hold
nothing of the line's content, for they go to logs. An empty list means that the line is good. The function is asked about
every line that is not blank, is UTF-8 and holds no NUL byte.
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
    except Exception as error:  # noqa: BLE001 (it is not our module)
        raise LineCheckFailed(
            f"The line check {name!r} cannot be imported ({type(error).__name__}: {error}). It must be "
            "package.module:function. Mend it; a retry tries again."
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
            returned: object = self._check(line)
        except Exception as error:  # noqa: BLE001 (it is not our function)
            why = f"failed with {type(error).__name__}"
        else:
            if isinstance(returned, list) and all(isinstance(one, str) for one in returned):
                return returned
            why = f"returned {type(returned).__name__}, and must return a list of sentences, empty for a good line"
        raise LineCheckFailed(f"The line check {self._name!r} {why}. Mend it; a retry checks again.")

    def hints(self, line: bytes) -> Iterable[str]:
        """None: a function gives reasons alone."""
        return ()

    def warnings(self, lines: Iterable[bytes]) -> Iterable[str]:
        """None, likewise."""
        return ()
