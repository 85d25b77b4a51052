"""What a test can change about the emulator's behaviour while it runs. Kept over restarts."""

from __future__ import annotations

import dataclasses
from typing import Any

from airflow_bulk.emulator.error_files import LAYOUTS


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """The switches. Each default is what mediarithmics.md says or, failing that, assumes.

    :param start_delay: seconds on the emulator's clock from PENDING to RUNNING.
    :param run_seconds: seconds on the emulator's clock from RUNNING to the end.
    :param strict: refuse what the documentation forbids or marks as mandatory (section 12); else tolerate it.
    :param page_size: elements of a list page when the caller does not say (section 1.4).
    :param max_page_size: the most elements of a page (section 1.4).
    :param max_body_bytes: a larger upload is answered 413 when strict (section 3).
    :param csv_delimiter: separator of CSV cells (section 12, row 4).
    :param count_csv_header: ``number_of_lines`` counts the CSV header.
    :param count_blank_lines: ``number_of_lines`` counts blank lines, and each of them fails.
    :param saved_errors: how many failed lines ``error.message`` names (section 4.6).
    :param refused_cancel_status: what a refused cancel answers: 400, or 200 with the unchanged execution.
    :param error_file_layout: what stands in error files (section 4.5 does not say): ``line_number``, ``identifier``, ``line`` or
        ``message``.
    :param error_file_rows: only so many of the first rows of an error file; 0 for all.
    :param input_file_name: how the platform calls a file that is uploaded, in URIs; empty for a name of its own (section 3).
    :param messages_quote_lines: error messages quote the line, as a careless platform might.
    :param possible_issue_on_identifiers: the value of that field in results.
    :param top_identifiers: the value of that field in results.
    :param extract_load_status: stored batches show ``status`` and ``errors``, which the real server lacks
        (extract_load.md section 4 [assumed]).
    """

    start_delay: float = 0.2
    run_seconds: float = 0.2
    strict: bool = True
    page_size: int = 50
    max_page_size: int = 500
    max_body_bytes: int = 104_857_600
    csv_delimiter: str = ","
    count_csv_header: bool = False
    count_blank_lines: bool = False
    saved_errors: int = 100
    refused_cancel_status: int = 400
    error_file_layout: str = "line_number"
    error_file_rows: int = 0
    input_file_name: str = ""
    messages_quote_lines: bool = False
    possible_issue_on_identifiers: bool = False
    top_identifiers: dict[str, Any] = dataclasses.field(default_factory=dict)
    extract_load_status: bool = False

    def changed(self, changes: dict[str, Any]) -> Settings:
        """Return a copy with ``changes``.

        :raises ValueError: a name that does not exist, or a value of the wrong kind; says which.
        """
        defaults = Settings()
        checked: dict[str, Any] = {}
        for name, value in changes.items():
            if not hasattr(defaults, name) or name == "changed":
                raise ValueError(f"no setting is called {name!r}; there are {', '.join(names())}")
            checked[name] = _checked(name, value, getattr(defaults, name))
        if checked.get("refused_cancel_status", 400) not in (200, 400):
            raise ValueError("refused_cancel_status is 200 or 400")
        if checked.get("error_file_layout", LAYOUTS[0]) not in LAYOUTS:
            raise ValueError(f"error_file_layout is one of {', '.join(LAYOUTS)}")
        if len(checked.get("csv_delimiter", ",")) != 1:
            raise ValueError("csv_delimiter is one character")
        return dataclasses.replace(self, **checked)


def names() -> list[str]:
    """Return the names of all settings."""
    return [field.name for field in dataclasses.fields(Settings)]


def _checked(name: str, value: Any, default: Any) -> Any:
    if isinstance(default, bool):
        right = isinstance(value, bool)
    elif isinstance(default, (int, float)):
        right = isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0
        right = right and (isinstance(default, float) or int(value) == value)
    else:
        right = isinstance(value, type(default))
    if not right:
        raise ValueError(f"setting {name} takes {type(default).__name__} (0 or more), not this value")
    return type(default)(value)
