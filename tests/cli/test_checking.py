"""``airflow bulk check`` and ``plan``: places and reasons, counts and parts; never what a line holds."""

import gzip
import json

import pytest
from one_task import profile, write_profiles

CANARY = "Grace-Hopper-17"
TYPE = ("--document-type", "USER_PROFILE")


@pytest.fixture
def source(tmp_path):
    """10 good lines, and line 3 and 7 break a rule and hold a name."""
    lines = [profile(number) for number in range(1, 13)]
    lines[2] = lines[6] = json.dumps({"operation": "UPSERT", "user_profile": {"name": CANARY}})
    path = tmp_path / "profiles.ndjson"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_check_names_places_and_reasons_and_ends_with_1(bulk, source):
    said = bulk("check", source, *TYPE)
    assert said.code == 1
    first, second, *_, counts = said.out.splitlines()
    assert first.startswith(f"{source}:3: exactly one identifier is needed")
    assert second.startswith(f"{source}:7: ")
    assert counts.startswith("12 lines in 1 file: 10 good (")
    assert "2 rejected (16.7%)" in counts
    assert said.sentence == (
        "More than --max-failures 0: an import would send nothing of it. Correct these lines, or raise --max-failures."
    )
    assert CANARY not in said.out + said.err


@pytest.mark.parametrize("limit", ["2", "20%", "100%"])
def test_check_ends_with_0_within_max_failures(bulk, source, limit):
    assert bulk("check", source, *TYPE, "--max-failures", limit).code == 0


def test_check_as_json_is_one_document(bulk, source):
    said = bulk("check", source, *TYPE, "--json")
    assert (said.code, said.document["ok"]) == (1, False)
    assert said.document | {"seconds": 0, "bytes": 0, "reasons": {}} == {
        "ok": False,
        "files": [str(source)],
        "document_type": "USER_PROFILE",
        "mime_type": "APPLICATION_X_NDJSON",
        "lines_read": 12,
        "lines_good": 10,
        "lines_rejected": 2,
        "blank_lines": 0,
        "parts": 1,
        "bytes": 0,
        "max_failures": "0",
        "seconds": 0,
        "rejects": [
            {"file": str(source), "line": line, "reasons": list(said.document["reasons"])} for line in (3, 7)
        ],
        "rejects_left_out": 0,
        "reasons": {},
        "hints": {},
    }
    assert set(said.document["reasons"].values()) == {2}
    assert CANARY not in said.out + said.err


def test_check_prints_the_first_20_rejects_or_all(bulk, tmp_path):
    path = tmp_path / "bad.ndjson"
    write_profiles(path, 60, bad=tuple(range(1, 31)))
    said = bulk("check", path, *TYPE)
    assert [line.split(": ")[0] for line in said.out.splitlines()[:20]] == [
        f"{path}:{n}" for n in range(1, 21)
    ]
    assert said.out.splitlines()[20] == "... and 10 more rejected lines; --all prints them all."
    every = bulk("check", path, *TYPE, "--all")
    assert sum(line.startswith(f"{path}:") for line in every.out.splitlines()) == 30
    few = bulk("check", path, *TYPE, "--json").document
    assert (len(few["rejects"]), few["rejects_left_out"]) == (20, 10)
    assert len(bulk("check", path, *TYPE, "--json", "--all").document["rejects"]) == 30


def test_check_counts_hints(bulk, tmp_path):
    path = tmp_path / "hints.ndjson"
    path.write_text(profile(1, unheard_of=CANARY) + "\n" + profile(2, unheard_of=CANARY) + "\n")
    said = bulk("check", path, *TYPE)
    assert (said.code, said.err) == (0, "")
    assert "Hints (such lines are sent):" in said.out
    (hint,) = [line for line in said.out.splitlines() if "unknown property" in line]
    assert hint.split()[0] == "2"
    assert CANARY not in said.out


def test_check_reads_several_packed_files_and_patterns(bulk, tmp_path):
    for number in (1, 2):
        (tmp_path / f"{number}.ndjson.gz").write_bytes(gzip.compress(profile(number).encode() + b"\n"))
    write_profiles(tmp_path / "three.ndjson", 3)
    said = bulk("check", tmp_path / "*.gz", tmp_path / "three.ndjson", *TYPE, "--json")
    assert (said.document["lines_read"], len(said.document["files"])) == (5, 3)


def test_a_deletion_is_checked_without_consent(bulk, tmp_path):
    path = tmp_path / "gone.ndjson"
    path.write_text('{"user_account_id":"a","compartment_id":"1"}\n')
    said = bulk("check", path, "--document-type", "USER_POINTS_DELETION", "--json", "--max-failures", "100%")
    assert said.document["lines_read"] == 1


@pytest.mark.parametrize("command", ["check", "plan"])
@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "no such file"),
        ("[\n" + profile(1) + "\n]\n", "JSON array"),
        (profile(1).encode("utf-16"), "UTF-16"),
        (b"\x1f\x8b\x08\x00cut", "gzip"),
        (b"", "holds no line"),
    ],
)
def test_a_source_that_is_refused_whole_is_one_sentence(bulk, tmp_path, command, content, why):
    path = tmp_path / "source.ndjson"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    said = bulk(command, path, *TYPE)
    assert said.code == 1
    assert why.lower() in said.sentence.lower()
    as_json = bulk(command, path, *TYPE, "--json")
    assert as_json.code == 1
    assert as_json.document == {"ok": False, "error": as_json.sentence}
    assert content != b"" or said.sentence.endswith(
        "Say --on-empty skip or --on-empty ok if that is expected."
    )
    assert "retry" not in said.sentence
    assert "DAG" not in said.sentence


@pytest.mark.parametrize("how", ["skip", "ok"])
def test_an_empty_source_may_be_said_to_be_fine(bulk, tmp_path, how):
    (tmp_path / "empty.ndjson").touch()
    assert bulk("check", tmp_path / "empty.ndjson", *TYPE, "--on-empty", how).code == 0


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("--max-failures", "some"), "--max-failures must be a count"),
        (("--max-part-bytes", "10"), "--max-part-bytes must be a whole number from 1000 up"),
        (("--csv-delimiter", ";;"), "--csv-delimiter must be one ASCII character."),
        (("--mime-type", "TEXT_CSV"), "--mime-type TEXT_CSV is for USER_SEGMENT alone"),
    ],
)
def test_wrong_use_ends_with_2(bulk, source, words, what):
    said = bulk("check", source, *TYPE, *words)
    assert said.code == 2
    assert said.sentence.startswith(what)


@pytest.mark.parametrize("words", [("check",), ("check", "x"), ("check", "x", "--document-type", "USER")])
def test_airflows_parser_refuses_with_2(bulk, words):
    assert bulk(*words).code == 2


def test_plan_shows_what_an_import_sends(bulk, emulator, tmp_path):
    path = tmp_path / "profiles.ndjson"
    write_profiles(path, 400, bad=(2, 399))
    words = (path, *TYPE, "--max-part-bytes", "20000", "--max-failures", "2")
    planned = bulk("plan", *words, "--json").document
    assert bulk("import", *words, "--name", "n", "--yes").code == 0
    (made,) = emulator.imports()
    sent = [one["parameters"]["number_of_lines"] for one in emulator.executions(made["id"])]
    assert [one["lines"] for one in planned["plan"]] == sent
    bodies = [
        one["body_bytes"]
        for one in emulator.requests()
        if one["path"].endswith("/executions") and one["method"] == "POST"
    ]
    assert [one["bytes"] for one in planned["plan"]] == bodies
    assert (planned["bytes"], planned["parts"]) == (sum(bodies), len(bodies))
    assert [one["rejected"] for one in planned["plan"] if one["rejected"]] == [1, 1]
    assert [one["first_line"] for one in planned["plan"]][:2] == [1, planned["plan"][0]["lines"] + 2]


def test_plan_is_a_table_for_a_person(bulk, tmp_path):
    path = tmp_path / "profiles.ndjson"
    write_profiles(path, 400)
    said = bulk("plan", path, *TYPE, "--max-part-bytes", "20000")
    title, first, *_, last = said.out.splitlines()
    assert title.split() == ["part", "file", "first", "line", "lines", "rejected", "bytes"]
    assert first.split()[:3] == ["1", str(path), "1"]
    assert last.startswith("400 lines in 1 file: 400 good (")


def test_plan_of_too_many_bad_lines_ends_with_1(bulk, source):
    assert bulk("plan", source, *TYPE).code == 1
