"""The record rules of the three known types (centrapay.md section 6), and that the emulator's own rules agree."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_bulk.documents import check_line
from airflow_bulk.documents.lines.centrapay_onboard import COLUMNS, DEVICES, PHYSICAL, REQUIRED, check_header
from airflow_bulk.documents.lines.checking import LineChecker
from airflow_bulk.emulator.centrapay_files import judge

FARMLANDS, TICKETEK, ONBOARD = "farmlands-external-asset", "ticketek-ticket", "business-onboard"
ACCOUNT: dict[str, Any] = {
    "externalId": "acc-0007",
    "accountNumber": "000451239",
    "availableBalance": "2550",
    "contacts": [
        {
            "externalId": "con-01",
            "name": "Mere Tane",
            "mobile": "+64211112222",
            "email": "mere@example.test",
            "primary": True,
            "cards": [
                {
                    "externalId": "card-1",
                    "barcode": "310045772",
                    "number": "4000000000000002",
                    "status": "active",
                    "expiry": "2030-04-01T00:00:00.000Z",
                }
            ],
        }
    ],
}
TICKET: dict[str, Any] = {
    "quantity": 1,
    "priceTypeCode": "A",
    "productId": "GAME0042",
    "orderId": "20250301,17",
    "priceTypeName": "Adult",
    "memberNumber": "9001",
    "barcodeClear": "55512340",
}
CARD = "contacts.0.cards.0"


def changed(record: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy with one value changed; ``...`` takes it away."""
    copy = json.loads(json.dumps(record))
    *way, last = path.split(".")
    place = copy
    for step in way:
        place = place[int(step) if step.isdigit() else step]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return copy


def verdicts(batch_type: str, record: dict[str, Any]) -> tuple[list[str], list[dict[str, Any]]]:
    """Our reasons, and the emulator's errors."""
    line = json.dumps(record)
    return check_line(batch_type, line), judge(batch_type, line.encode())["errors"]


GOOD = [
    *((FARMLANDS, one) for one in [ACCOUNT, {"externalId": "a"}, changed(ACCOUNT, "contacts", [])]),
    *((FARMLANDS, changed(ACCOUNT, "availableBalance", value)) for value in ["0", "-5", "12.50", 910, 1.5]),
    (FARMLANDS, changed(ACCOUNT, f"{CARD}.barcode", 310_045_772)),
    (FARMLANDS, changed(ACCOUNT, f"{CARD}.farmlandsStatus", "private")),
    (FARMLANDS, changed(ACCOUNT, "somethingNew", {"a": 1})),
    *((TICKETEK, changed(TICKET, "quantity", value)) for value in [1, -1, "1", "-1"]),
    (TICKETEK, changed(TICKET, "memberNumber", ...)),
    # A null in an optional field counts as left out [assumed].
    (TICKETEK, changed(TICKET, "memberNumber", None)),
    *((FARMLANDS, changed(ACCOUNT, name, None)) for name in ACCOUNT if name != "externalId"),
    *(
        (FARMLANDS, changed(ACCOUNT, f"contacts.0.{name}", None))
        for name in ["name", "mobile", "email", "cards"]
    ),
    *((FARMLANDS, changed(ACCOUNT, f"{CARD}.{name}", None)) for name in ACCOUNT["contacts"][0]["cards"][0]),
]
BAD = [
    *((FARMLANDS, "externalId", value) for value in [..., "", None, 7]),
    *((FARMLANDS, "accountNumber", value) for value in [451_239, True]),
    *((FARMLANDS, "availableBalance", value) for value in ["", "much", "1,5", True, []]),
    *((FARMLANDS, "contacts", value) for value in [{}, [None], ["x"], [{}]]),
    *((FARMLANDS, "contacts.0.mobile", value) for value in ["021 111", "+61211112222", 64, "+64"]),
    (FARMLANDS, "contacts.0.primary", "true"),
    *((FARMLANDS, f"{CARD}.barcode", value) for value in ["31004577", "3100457720", "x", 31_004_577]),
    *((FARMLANDS, f"{CARD}.number", value) for value in ["400000000000000", 4_000_000_000_000_002]),
    (FARMLANDS, f"{CARD}.status", "lost"),
    *((FARMLANDS, f"{CARD}.expiry", value) for value in ["2030-04-01", "2030-04-01T00:00:00+12:00", 5]),
    *((TICKETEK, "quantity", value) for value in [..., 0, 2, "2", None, True]),
    *((TICKETEK, name, ...) for name in TICKET if name not in ("quantity", "memberNumber")),
    (TICKETEK, "orderId", 17),
]


@pytest.mark.parametrize(("batch_type", "record"), GOOD)
def test_good_records(batch_type: str, record: dict[str, Any]) -> None:
    assert verdicts(batch_type, record) == ([], [])


@pytest.mark.parametrize(("batch_type", "path", "value"), BAD)
def test_bad_records(batch_type: str, path: str, value: Any) -> None:
    record = changed(ACCOUNT if batch_type == FARMLANDS else TICKET, path, value)
    reasons, errors = verdicts(batch_type, record)
    (reason,) = reasons
    assert path.rpartition(".")[2].split("[")[0] in reason
    assert len(errors) == 1
    if path.endswith(".barcode"):
        assert errors[0]["message"] == "INVALID_BARCODE_LENGTH"
    for secret in ("Mere", "mere@example.test", "4000000000000002"):
        assert secret not in reason


_values = st.sampled_from(
    ["", "a", "310045772", "4000000000000002", "+6421", "active", "1", "2030-04-01T00:00:00Z"]
) | st.sampled_from([None, True, 0, 1, -1, 310_045_772, 2.5, [], {}])
_paths = st.sampled_from(
    [
        *((FARMLANDS, path) for path in ACCOUNT),
        *((FARMLANDS, f"contacts.0.{name}") for name in ACCOUNT["contacts"][0]),
        *((FARMLANDS, f"{CARD}.{name}") for name in ACCOUNT["contacts"][0]["cards"][0]),
        *((TICKETEK, path) for path in TICKET),
    ]
)


@given(_paths, _values | st.just(...))
def test_the_two_judges_agree(place: tuple[str, str], value: Any) -> None:
    """The package's rules and the emulator's were written apart; the fast reading is the complete one."""
    batch_type, path = place
    record = changed(ACCOUNT if batch_type == FARMLANDS else TICKET, path, value)
    reasons, errors = verdicts(batch_type, record)
    assert bool(reasons) == bool(errors), (reasons, errors)
    block = LineChecker(batch_type).check(json.dumps(record).encode() + b"\n")
    assert [finding.reasons for finding in block.findings] == ([tuple(reasons)] if reasons else [])


def test_what_is_warned_about_is_counted_on_every_record() -> None:
    records = [
        ACCOUNT,
        changed(ACCOUNT, "contacts", []),
        changed(ACCOUNT, "availableBalance", ...),
        changed(ACCOUNT, "availableBalance", 5),
        changed(ACCOUNT, "contacts.0.cards", []),
        changed(ACCOUNT, "accountNumber", ...),
        {"accountNumber": "bad"},
    ]
    checker = LineChecker(FARMLANDS)
    for _ in range(8):
        checker.check("".join(json.dumps(one) + "\n" for one in records * 1000).encode())
    counted = {kind.split(":")[0]: count for kind, count in checker.hints.items()}
    assert counted == {
        "contacts is an empty array": 8000,
        "availableBalance is left out": 8000,
        "a BigNumber stands there as a bare number": 8000,
        "cards is an empty array": 8000,
        "accountNumber is left out": 8000,
    }


def test_a_quoted_quantity_is_warned_about() -> None:
    checker = LineChecker(TICKETEK)
    checker.check("".join(json.dumps({**TICKET, "quantity": q}) + "\n" for q in (1, "1", "-1")).encode())
    assert [(kind[:18], count) for kind, count in checker.hints.items()] == [("quantity is quoted", 2)]


# -- business-onboard ------------------------------------------------------------------------------------------

ROW = {name: f"{name} 1" for name in (*REQUIRED, *PHYSICAL, *DEVICES, "merchantState")} | {
    "merchantType": "physical"
}


def onboard(row: dict[str, str], header: tuple[str, ...] = tuple(ROW)) -> tuple[list[str], list[Any]]:
    title = ",".join(header)
    line = ",".join(f'"{row.get(name, "")}"' for name in header)
    errors = judge(ONBOARD, f"{title}\n{line}\n".encode())["errors"]
    return check_line(ONBOARD, line, "TEXT_CSV", header=title), errors


def test_good_rows() -> None:
    assert onboard(ROW) == ([], [])
    for left_out in (*DEVICES, "merchantState"):
        assert onboard({**ROW, left_out: ""}) == ([], [])
    online = {**ROW, "merchantType": "e-commerce"} | dict.fromkeys(PHYSICAL, "")
    assert onboard(online) == ([], [])


@pytest.mark.parametrize("name", [*REQUIRED, *PHYSICAL])
def test_rows_that_lack_something(name: str) -> None:
    reasons, errors = onboard({**ROW, name: ""})
    assert reasons[0].startswith(f"{name} is missing") and len(errors) == 1


@pytest.mark.parametrize("change", [{"merchantType": "ecommerce"}, dict.fromkeys(DEVICES, "")])
def test_rows_that_break_a_rule(change: dict[str, str]) -> None:
    reasons, errors = onboard({**ROW, **change})
    assert len(reasons) == len(errors) == 1


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (",".join((*ROW, "companyName")), "names companyName twice"),
        (",".join(name for name in ROW if name != "salesChannelId"), "lacks salesChannelId"),
        (",".join(name for name in ROW if name not in DEVICES), "lacks deviceId or deviceSerialNumber"),
        (",".join(name.upper() for name in ROW), "lacks companyName"),
        ('"companyName', "cannot be read"),
        ("SEP=;", "the line `sep=` is one that a spreadsheet adds"),
        ("", "the line is blank"),
    ],
)
def test_headers_that_refuse_the_file(header: str, reason: str) -> None:
    assert reason in "; ".join(check_header(header.encode()))
    with pytest.raises(ValueError, match=reason):
        LineChecker(ONBOARD, "TEXT_CSV", header=header.encode())


def test_a_spreadsheet_s_empty_columns_are_taken() -> None:
    assert check_header(",".join((*ROW, "", "")).encode()) == []


def test_the_documented_header_passes_without_the_state() -> None:
    """Its own example lacks merchantState on a physical row: a strict judge would refuse the documentation."""
    header = tuple(name for name in COLUMNS if name != "merchantState")
    row = dict.fromkeys(header, "x") | {"merchantType": "physical"}
    assert onboard(row, header) == ([], [])
    checker = LineChecker(ONBOARD, "TEXT_CSV", header=",".join(header).encode())
    checker.check(",".join(row[name] for name in header).encode())
    assert [kind.split(" ")[0] for kind in checker.hints] == ["merchantState"]


def test_rows_and_blank_lines_in_a_block() -> None:
    checker = LineChecker(ONBOARD, "TEXT_CSV", header=",".join(ROW).encode())
    good = ",".join(ROW.values()).encode() + b"\r\n"
    report = checker.check(good + b"\n" + b"too,few\n" + good)
    assert (report.lines, [(one.line, bool(one.reasons)) for one in report.findings]) == (
        4,
        [(1, False), (2, True)],
    )


@pytest.mark.parametrize("batch_type", [FARMLANDS, TICKETEK, ONBOARD])
def test_a_type_has_one_format(batch_type: str) -> None:
    other = "APPLICATION_X_NDJSON" if batch_type == ONBOARD else "TEXT_CSV"
    with pytest.raises(ValueError, match="comes as"):
        LineChecker(batch_type, other, header=b"a,b\n")
