"""Text from templates becomes values, or an error that names the field."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from airflow_bulk import arguments
from airflow_bulk.arguments import ArgumentError, SendingOptions, read_sources

#: Of each field: text as a template renders it, the value that it stands for, and text that stands for none.
SENDING: dict[str, tuple[str, Any, str]] = {
    "max_part_bytes": ("5_000_000", 5_000_000, "999"),
    "workers": ("2", 2, "0"),
    "overlap": ("True", True, "perhaps"),
    "spool_dir": ("/spool", "/spool", ""),
    "one_part_per_file": ("yes", True, "2"),
    "csv_delimiter": (";", ";", "||"),
    "check": ("false", False, "None"),
    "check_extension": ("no", False, "never"),
    "name_marker": ("off", False, ""),
    "resend_failed_parts": ("1", True, "all"),
    "settle": ("0.5", 0.5, "-1"),
}


def options(**rendered: str) -> SendingOptions:
    """Options whose fields are templates that render to these texts."""
    templates: dict[str, Any] = {name: f"{{{{ params.{name} }}}}" for name in rendered}
    texts = {templates[name]: text for name, text in rendered.items()}
    return SendingOptions(**templates).rendered(texts.__getitem__)


def test_every_sending_option_may_come_from_a_template() -> None:
    assert set(SENDING) == {field.name for field in dataclasses.fields(SendingOptions)}
    read = dataclasses.asdict(options(**{name: text for name, (text, _, _) in SENDING.items()}))
    wanted = {name: value for name, (_, value, _) in SENDING.items()}
    assert read == wanted
    assert {name: type(value) for name, value in read.items()} == {
        name: type(value) for name, value in wanted.items()
    }


@pytest.mark.parametrize("name", [name for name in SENDING if name != "spool_dir"])
def test_a_sending_option_that_cannot_be_read_is_named(name: str) -> None:
    with pytest.raises(ArgumentError, match=rf"sending\.{name} must be .*Nothing was sent"):
        options(**{name: SENDING[name][2]})


@pytest.mark.parametrize("text", ["", "None", "null"])
def test_no_spool_dir(text: str) -> None:
    assert options(spool_dir=text).spool_dir is None


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("/in/*.ndjson", ("/in/*.ndjson",)),
        (["/in/a,b.ndjson", "/in/c.ndjson"], ("/in/a,b.ndjson", "/in/c.ndjson")),
        # As a template renders a list, and as its filter tojson does.
        ("['/in/a,b.ndjson', '/in/c.ndjson']", ("/in/a,b.ndjson", "/in/c.ndjson")),
        ('["/in/a.ndjson", "/in/c.ndjson"]', ("/in/a.ndjson", "/in/c.ndjson")),
        ("('/in/a.ndjson',)", ("/in/a.ndjson",)),
        ("[]", ()),
        # Patterns and names that only look like one.
        ("[ab]*.ndjson", ("[ab]*.ndjson",)),
        ("[1]", ("[1]",)),
        ("{['a']}", ("{['a']}",)),
        ("[" * 10_000, ("[" * 10_000,)),
        ("(old) profiles, all.ndjson", ("(old) profiles, all.ndjson",)),
    ],
)
def test_source(given: Any, wanted: tuple[str, ...]) -> None:
    assert read_sources(given) == wanted


@pytest.mark.parametrize("rendered", [False, True])
def test_a_set_of_sources_has_one_order_in_every_process(rendered: bool) -> None:
    """Its own order is another one at each start of Python, and a retry compares the files in order."""
    given = {f"{number:02}.ndjson" for number in range(20)}
    assert read_sources(str(given) if rendered else given) == tuple(sorted(given))


@pytest.mark.parametrize("given", ["", None, [""], "['']", ["/in/a.ndjson", None]])
def test_no_source(given: Any) -> None:
    with pytest.raises(ArgumentError, match="source must be a text that is not empty"):
        read_sources(given)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (None, None),
        ("None", None),
        ("1,2", ["1", "2"]),
        ("['1', '2']", ["1", "2"]),
        ("[1, 2]", ["1", "2"]),
        ("{'7'}", ["7"]),
        ("[]", []),
        ([3, "4"], ["3", "4"]),
    ],
)
def test_several_texts(given: Any, wanted: list[str] | None) -> None:
    assert arguments.optional_texts("execution_ids", given) == wanted


def test_sending_as_a_dict_is_the_same_as_sending_options() -> None:
    assert SendingOptions.of({"workers": 2, "check": False}) == SendingOptions(workers=2, check=False)
    assert SendingOptions.of({}) == SendingOptions()
    assert SendingOptions.of(given := SendingOptions(settle=1)) is given


@pytest.mark.parametrize("given", [None, 2, "{{ params.sending }}", [("workers", 2)]])
def test_sending_that_is_no_options_is_refused(given: Any) -> None:
    with pytest.raises(ArgumentError, match="sending must be SendingOptions or a dict of its fields"):
        SendingOptions.of(given)


@pytest.mark.parametrize("given", ["some", None, -1, "101%"])
def test_an_error_names_max_failures_once(given: Any) -> None:
    with pytest.raises(ArgumentError, match=r"^max_failures must be a count") as refused:
        arguments.read_tolerance(given)
    assert str(refused.value).count("max_failures") == 1
