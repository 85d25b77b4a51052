"""Names that are not UTF-8: a disk keeps any bytes, a record and JSON do not."""

import os
from pathlib import Path

import pytest
from one_task import once, write_profiles

TYPE = ("--document-type", "USER_PROFILE")
IMPORT = (*TYPE, "--name", "n", "--yes")
#: In ISO 8859-1; Python reads the byte as half of a character.
NAME = os.fsdecode(b"caf\xe9.ndjson")


@pytest.fixture
def source(tmp_path):
    path = tmp_path / NAME
    try:
        write_profiles(path, 10)
    except OSError:
        pytest.skip("this file system takes names of UTF-8 alone")
    return path


@pytest.mark.parametrize("given", [NAME, "*.ndjson"])
@pytest.mark.parametrize("command", [("check", *TYPE), ("plan", *TYPE), ("import", *IMPORT)])
def test_the_file_is_named_and_what_to_do(bulk, emulator, source, command, given):
    said = bulk(command[0], source.parent / given, *command[1:], "--json")
    assert said.code == 1
    assert said.document["error"] == (
        f"'{source.parent}/caf\\udce9.ndjson': this name is not UTF-8. Rename the file, or make a link to it whose name is. "
        "Nothing was sent."
    )
    assert emulator.imports() == []
    link = Path(source.parent) / "link.jsonl"
    link.symlink_to(source)
    assert bulk(command[0], link, *command[1:]).code == 0
    assert emulator.held() == (once(source.read_text().splitlines()) if command[0] == "import" else {})


@pytest.mark.parametrize("option", ["--name", "--rejects-path", "--spool-dir"])
def test_so_is_an_option(bulk, emulator, source, option):
    good = source.parent / "good.ndjson"
    source.rename(good)
    said = bulk("import", good, *IMPORT, option, NAME)
    assert said.code == 2
    assert said.sentence.startswith(f"{option} is not UTF-8: 'caf\\udce9.ndjson'. ")
    assert emulator.requests() == []


def test_a_record_may_have_any_name(bulk, emulator, source):
    good, record = source.parent / "good.ndjson", source.parent / os.fsdecode(b"\xe9")
    source.rename(good)
    assert bulk("import", good, *IMPORT, "--record", record).code == 0
    assert bulk("import", good, *IMPORT, "--record", record, "--json").document["already"] is True
