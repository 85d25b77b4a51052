"""Sources that are refused whole, because they are damaged, have changed or are in another format."""

from __future__ import annotations

import gzip
import os
import tracemalloc

import pytest
import zstandard
from cut_source import CSV, GOOD, NDJSON, Outcome, write_files

from airflow_bulk.documents.source.contents import open_contents
from airflow_bulk.documents.source.cuts import Layout, plan_parts
from airflow_bulk.documents.source.files import find_files
from airflow_bulk.documents.source.parts import SourceChanged, SourceError
from airflow_bulk.documents.source.reader import SourceReader


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda data: data[:-20], "truncated"),
        (lambda data: data[:50] + b"\xff" * 8 + data[58:], "not a sound|truncated"),
    ],
)
@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_damaged_compressed_file_is_refused(tmp_path, suffix, damage, words):
    content = b"".join(GOOD % os.urandom(8).hex().encode() + b"\n" for _ in range(2_000))
    [name] = write_files(tmp_path, [content], suffix)
    (tmp_path / name).write_bytes(damage((tmp_path / name).read_bytes()))
    with pytest.raises(SourceError, match=words):
        Outcome(tmp_path, [name], NDJSON, Layout(), planned=False)


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("frames", [1, 2])
@pytest.mark.parametrize(
    "tail", [b"x", b"\n", b"no frame at all", b"\0\0\0x" * 100, b"x" * 3_000_000], ids=len
)
def test_what_stands_behind_a_compressed_file_is_told_from_it(tmp_path, suffix, frames, tail):
    """One byte, too: a reader that wants a whole header before it looks takes it for a truncated file."""
    content = b"".join(GOOD % os.urandom(8).hex().encode() + b"\n" for _ in range(20_000))
    pack = gzip.compress if suffix == ".gz" else zstandard.compress
    sound = pack(content) * frames
    (tmp_path / f"a.ndjson{suffix}").write_bytes(sound + tail)
    kind, counted = suffix.replace(".gz", "gzip").replace(".zst", "zstd"), f"{len(tail)} bytes"
    words = (
        rf"its first {len(sound)} bytes are sound {kind} data, but what stands behind them "
        rf"\({'1 byte' if len(tail) == 1 else counted}\) is not: .*`head -c {len(sound)} FILE"
    )
    with pytest.raises(SourceError, match=words):
        Outcome(tmp_path, [f"a.ndjson{suffix}"], NDJSON, Layout(), planned=False)


@pytest.mark.parametrize("zeros", [1, 3, 4, 512, 1_000_000])
def test_zeros_behind_a_gzip_member_are_padding_as_python_s_gzip_takes_them(tmp_path, zeros):
    one = gzip.compress(GOOD % b"a" + b"\n")
    (tmp_path / "a.ndjson.gz").write_bytes(one + bytes(zeros) + one + bytes(zeros))
    assert gzip.decompress((tmp_path / "a.ndjson.gz").read_bytes()) == (GOOD % b"a" + b"\n") * 2
    outcome = Outcome(tmp_path, ["a.ndjson.gz"], NDJSON, Layout(), planned=False)
    assert outcome.bodies == [(GOOD % b"a" + b"\n") * 2]


def test_zeros_behind_a_zstd_frame_are_refused_as_zstd_does(tmp_path):
    one = zstandard.compress(GOOD % b"a" + b"\n")
    (tmp_path / "a.ndjson.zst").write_bytes(one + bytes(512))
    with pytest.raises(
        SourceError, match=rf"first {len(one)} bytes are sound zstd data, .*\(512 bytes\) is not"
    ):
        Outcome(tmp_path, ["a.ndjson.zst"], NDJSON, Layout(), planned=False)


def test_a_skippable_zstd_frame_is_skipped(tmp_path):
    one = zstandard.compress(GOOD % b"a" + b"\n")
    (tmp_path / "a.ndjson.zst").write_bytes(one + b"\x50\x2a\x4d\x18\x04\0\0\0abcd" + one)
    outcome = Outcome(tmp_path, ["a.ndjson.zst"], NDJSON, Layout(), planned=False)
    assert outcome.bodies == [(GOOD % b"a" + b"\n") * 2]


@pytest.mark.parametrize("place", [-5, -2], ids=["checksum", "length"])
def test_a_gzip_member_is_checked_to_its_last_byte(tmp_path, place):
    content = b"".join(GOOD % os.urandom(8).hex().encode() + b"\n" for _ in range(20_000))
    packed = bytearray(gzip.compress(content))
    packed[place] ^= 1
    (tmp_path / "a.ndjson.gz").write_bytes(packed)
    with pytest.raises(
        SourceError, match=r"not a sound gzip file \(unpacking failed after (\d+) plain"
    ) as refusal:
        Outcome(tmp_path, ["a.ndjson.gz"], NDJSON, Layout(), planned=False)
    plain = int(str(refusal.value).split("failed after ")[1].split()[0])
    assert len(content) - (512 << 10) <= plain <= len(content)


def test_a_gzip_of_zeros_is_unpacked_in_flat_memory(tmp_path):
    path = tmp_path / "a.ndjson.gz"
    path.write_bytes(gzip.compress(b"x" * 200_000_000))
    [found] = find_files(str(path))
    contents = open_contents(found, 1_000)
    view = memoryview(bytearray(1 << 20))
    tracemalloc.start()
    read = 0
    while count := contents.readinto(view, read):
        read += count
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    contents.close()
    assert read == 200_000_000
    assert peak < 4_000_000


@pytest.mark.parametrize("change", ["grow", "touch", "remove"])
def test_a_file_that_changed_is_not_read(tmp_path, change):
    path = tmp_path / "a.ndjson"
    path.write_bytes(GOOD % b"a" + b"\n")
    found = find_files(str(path))
    if change == "grow":
        path.write_bytes(GOOD % b"aa" + b"\n")
    elif change == "touch":
        os.utime(path, ns=(1, 1))
    else:
        path.unlink()
    with SourceReader(found, NDJSON, 1_000) as reader, pytest.raises(SourceChanged, match=r"a\.ndjson"):
        list(plan_parts(reader, Layout(max_part_bytes=1_000)))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'[\n{"operation":"DELETE"}]', "jq -c"),
        (b'{\n  "operation": "DELETE"\n}', "jq -c"),
        (b'\xef\xbb\xbf[{"operation":"DELETE"}]', "jq -c"),
    ],
)
def test_json_that_is_not_one_command_a_line_is_refused_whole(tmp_path, content, words):
    names = write_files(tmp_path, [content])
    with pytest.raises(SourceError, match=words):
        Outcome(tmp_path, names, NDJSON, Layout(), planned=True)


@pytest.mark.parametrize(
    "header",
    [
        b"UPDATE,a,b,c\n",
        b"operation,operation,user_account_id,segment_id,expiration_duration\n",
        b"operation,color\n",
    ],
)
def test_a_faulty_csv_header_is_refused_whole(tmp_path, header):
    (tmp_path / "a.csv").write_bytes(header + b"UPDATE,a,880,0\n")
    with pytest.raises(SourceError, match=r"a\.csv: line 1: "):
        Outcome(tmp_path, ["a.csv"], CSV, Layout(), planned=True)


def test_a_file_of_one_byte_is_told_as_such(tmp_path):
    path = tmp_path / "a.ndjson"
    path.write_bytes(b"x")
    found = find_files(str(path))
    path.write_bytes(b"")
    with pytest.raises(SourceChanged, match=r"it had 1 byte, now 0\)"):
        open_contents(found[0], 1_000)
