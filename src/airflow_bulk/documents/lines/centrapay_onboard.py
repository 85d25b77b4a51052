"""Centrapay's business-onboard as CSV: a header, then rows with one business, merchant and device each.

Facts: centrapay.md section 6.3 [documented]. RFC 4180 quoting, UTF-8, and one row a line are [assumed], as for the
CSV of mediarithmics. A column that is not documented is a hint, and no reason to refuse the file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from airflow_bulk.documents.lines.csv_lines import cell_pattern, read_cells, read_header, split, without_end

REQUIRED = (
    "companyName",
    "contactName",
    "primaryContactEmail",
    "externalBusinessId",
    "categoryCode",
    "settlementAccountNumber",
    "assetProgramId",
    "merchantName",
    "merchantCountry",
    "merchantType",
    "externalMerchantId",
    "salesChannelId",
)
#: Needed when ``merchantType`` is ``physical``. The documentation's own example lacks ``merchantState``, so that its
#: absence is only a hint.
PHYSICAL = ("merchantStreet", "merchantCity")
STATE = "merchantState"
#: One of the two columns is needed; the documentation's table marks only the serial number as required.
DEVICES = ("deviceId", "deviceSerialNumber")
MERCHANT_TYPES = ("physical", "e-commerce")
COLUMNS = (
    *REQUIRED,
    *PHYSICAL,
    STATE,
    *DEVICES,
    "nzbn",
    "tradingName",
    "chargeAccountNumber",
    "merchantSuburb",
    "merchantPostcode",
    "deviceModel",
)

NO_STATE = "merchantState is left out on a physical merchant: the documentation asks for it, and its own example lacks it"
NO_SERIAL = "deviceSerialNumber is left out: the documentation takes deviceId instead, and flags the serial as required"
UNKNOWN_COLUMN = "a column that is not documented"


def check_header(header: bytes, delimiter: str = ",") -> list[str]:
    """Return the reasons for which the whole file is refused; they name only known columns."""
    cells, reasons = read_header(header, delimiter)
    if reasons:
        return reasons
    counts = Counter(cells)
    reasons = [f"the CSV header names {name} twice" for name in COLUMNS if counts[name] > 1]
    reasons += [f"the CSV header lacks {name}" for name in REQUIRED if not counts[name]]
    if not any(counts[name] for name in DEVICES):
        reasons.append(f"the CSV header lacks {' or '.join(DEVICES)}")
    return reasons


class OnboardReading:
    """The rules of business-onboard rows under one header.

    Every row is read completely: such files have some thousand rows, not millions.

    :param header: the header line.
    :param delimiter: the character between the cells; one ASCII character.
    :raises ValueError: :func:`check_header` finds reasons against the header.
    """

    def __init__(self, header: bytes, delimiter: str = ",") -> None:
        if reasons := check_header(header, delimiter):
            raise ValueError("; ".join(reasons))
        self._delimiter = delimiter
        self._pattern = cell_pattern(delimiter)
        cells = split(without_end(header).decode(), self._pattern, delimiter)
        assert isinstance(cells, list)  # noqa: S101 - check_header was called before
        self._columns = cells

    def suspects(self, lines: list[bytes]) -> Iterable[int]:
        """Return the indexes of all rows that may be bad: here all of them."""
        return range(len(lines))

    def reasons(self, line: bytes) -> list[str]:
        """Read one row completely.

        :param line: bytes of a row that is not blank, without its newline.
        :return: all reasons against the row; none: it is good.
        """
        cells, found = read_cells(line, self._columns, self._pattern, self._delimiter)
        return found or self._broken(self._there(cells))

    def _there(self, cells: list[str]) -> dict[str, str]:
        return {name: cell for name, cell in zip(self._columns, cells, strict=True) if cell.strip()}

    def _broken(self, row: dict[str, str]) -> list[str]:
        found = [f"{name} is missing" for name in REQUIRED if name not in row]
        kind = row.get("merchantType")
        if kind is not None and kind not in MERCHANT_TYPES:
            found.append(f"merchantType has to be {' or '.join(MERCHANT_TYPES)}")
        if kind == "physical":
            found += [
                f"{name} is missing, a physical merchant needs it" for name in PHYSICAL if name not in row
            ]
        if not any(name in row for name in DEVICES):
            found.append(f"one of {' or '.join(DEVICES)} is needed")
        return found

    def hints(self, line: bytes) -> Iterable[str]:
        """Return no hints: all hints of this type are counted on every row."""
        return ()

    def warnings(self, lines: Iterable[bytes]) -> Iterable[str]:
        """Return the kinds of hints on good rows."""
        for line in lines:
            yield from self._warnings(line)

    def _warnings(self, line: bytes) -> Iterable[str]:
        cells = split(without_end(line).decode(), self._pattern, self._delimiter)
        if not isinstance(cells, list):
            return
        row = self._there(cells)
        if row.get("merchantType") == "physical" and STATE not in row:
            yield NO_STATE
        if "deviceSerialNumber" not in row:
            yield NO_SERIAL
        if set(self._columns) - set(COLUMNS):
            yield UNKNOWN_COLUMN
