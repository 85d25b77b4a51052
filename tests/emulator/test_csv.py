"""CSV for USER_SEGMENT: header, cells, and the same rules as for ndjson (mediarithmics.md section 6.2)."""

import pytest

from airflow_bulk.emulator.line_rules import LineRules

HEADER = "operation,user_account_id,compartment_id,email_hash,segment_id,expiration_duration,expiration_ts,data_bag"
ROW = 'UPDATE,crm-77,4100,,880,43200,,"{""tier"":""gold""}"'


@pytest.fixture
def failures(api):
    """Upload a CSV body and return the failures by line number, and the lines held."""
    api.emulator.settings(start_delay=0, run_seconds=0)
    import_id = api.create(document_type="USER_SEGMENT", mime_type="TEXT_CSV")

    def upload(body):
        execution = api.execution(import_id, api.uploaded(import_id, body, "text/csv"))
        uri = execution["result"]["error_file_uri"]
        report = api.call("GET", "/data_file/data", params={"uri": uri}).text.splitlines()[1:]
        found = {int(line.split(",")[0]): line.split(",", 2)[2] for line in report}
        assert len(found) == execution["result"]["total_failure"]
        return found, sorted(api.emulator.held(import_id))

    return upload


def test_good_rows(failures):
    second = "DELETE,,,5b0f,880,0,0,"
    assert failures(f"{HEADER}\n{ROW}\r\n\n{second}".encode()) == ({}, sorted([ROW, second]))


@pytest.mark.parametrize(
    ("row", "word"),
    [
        ("UPDATE,crm-77,,,880,43200,", "cells"),
        (ROW + ",", "cells"),
        ("UPDATE,crm-77,,,880,soon,,", "expiration_duration"),
        ("UPDATE,crm-77,,,880,1.5,,", "expiration_duration"),
        ("UPDATE,crm-77,,5b0f,880,60,,", "identifier"),
        ("UPDATE,,4100,,880,60,,", "identifier"),
        ("UPSERT,crm-77,,,880,60,,", "operation"),
        ("UPDATE,crm-77,,,,60,,", "segment"),
        ("UPDATE,crm-77,,,880,,,", "expiration_duration"),
        ('UPDATE,"crm-77,,,880,60,,', "CSV"),
        ('UPDATE,"crm"-77,,,880,60,,', "CSV"),
        ('UPDATE,crm"77,,,880,60,,', "CSV"),
        ('UPDATE,crm"7"7,,,880,60,,', "CSV"),
        ("UPDATE,crm-77,,,880,007,,", "expiration_duration"),
        ("UPDATE,crm-77,,,880,60,007,", "expiration_ts"),
        ("UPDATE,crm-77,,,880,60,-1,", "expiration_ts"),
        ("UPDATE,crm-77,,,880,60,1e400,", "expiration_ts"),
        ("UPDATE,crm-77,,,880,60,soon,", "expiration_ts"),
    ],
)
def test_bad_rows(failures, row, word):
    found, held = failures(f"{HEADER}\n{ROW}\n{row}\n".encode())
    assert list(found) == [3]
    assert word in found[3]
    assert held == [ROW]


@pytest.mark.parametrize("cell", ["1.5", "1e12", "0", "1932858000000", "0.0", "1" * 5_000])
def test_a_time_of_expiry_is_any_number_as_in_ndjson(failures, cell):
    row = f"UPDATE,crm-77,,,880,60,{cell},"
    assert failures(f"{HEADER}\n{row}\n".encode()) == ({}, [row])
    line = f'{{"operation":"UPDATE","user_account_id":"a","segment_id":"1","expiration_duration":60,"expiration_ts":{cell}}}'
    assert LineRules("USER_SEGMENT", strict=True).reason(line.encode()) is None


def test_when_not_strict_numbers_and_quotes_are_read_as_a_spreadsheet_reads_them(api, failures):
    api.emulator.settings(strict=False)
    rows = ['UPDATE,crm"77,,,880,60,,', "UPDATE,crm-77,,,880,007,,", "UPDATE,crm-77,,,880,60,+1.,"]
    assert failures("\n".join([HEADER, *rows]).encode()) == ({}, sorted(rows))


def test_a_row_that_is_not_utf8(failures):
    assert failures(f"{HEADER}\n{ROW}\n".encode() + b"UPDATE,\xff,,,880,60,,\n") == ({3: "Not UTF-8"}, [ROW])


@pytest.mark.parametrize(
    "header", [HEADER + ",colour", HEADER + ",operation", b"\xff,operation", 'operation,"x']
)
def test_under_a_bad_header_every_row_fails(failures, header):
    head = header if isinstance(header, bytes) else header.encode()
    found, held = failures(head + f"\n{ROW}\n{ROW}\n".encode())
    assert set(found) == {2, 3}
    assert held == []


def test_another_delimiter(api, failures):
    api.emulator.settings(csv_delimiter=";")
    row = "UPDATE;a,b;;;880;60;;"
    assert failures(f"{HEADER.replace(',', ';')}\n{row}\n".encode()) == ({}, [row])
