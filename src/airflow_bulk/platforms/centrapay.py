"""Centrapay batches and the assets they load: records, statuses and calls.

EXPERIMENTAL, as an older page of the vendor marks both operations: they may change or vanish (centrapay.md section 1).
Facts: centrapay.md; a fact marked [assumed] there is a constant here. A batch's URL is a secret: it is sent to
Centrapay, and never read from an answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar
from urllib.parse import parse_qsl, quote, urlsplit

import msgspec

from airflow_bulk.platforms.answers import json_reader
from airflow_bulk.platforms.call import AnswerProblem, Call, Reply
from airflow_bulk.platforms.errors import reduce_message
from airflow_bulk.platforms.status import RemoteSnapshot, RemoteStatus

T = TypeVar("T")

#: Section 2 [documented]: live and test accounts share this URL; the credentials decide which it is.
BASE_URL = "https://service.centrapay.com"
#: Section 7 [documented]: requests a minute of each calling account, all calls together.
REQUESTS_PER_MINUTE = 200.0

#: Section 5 [documented]. Another status is unknown: it is kept as text, and the task waits and warns [assumed].
COMPLETE, ERROR = "complete", "error"
STATUSES = ("created", "copied", "chunked", COMPLETE, ERROR)
#: Section 1: why a batch goes on when its task is stopped.
NO_CANCEL = "No batch can be cancelled."

FARMLANDS, TICKETEK, ONBOARD = "farmlands-external-asset", "ticketek-ticket", "business-onboard"
#: Section 6: the current types. Another type is accepted with a warning, so that a new type needs no release of ours
#: [assumed].
BATCH_TYPES = (FARMLANDS, TICKETEK, ONBOARD)
#: Section 6: the type whose file is CSV with a header; the files of the others are JSON Lines.
CSV_TYPES = (ONBOARD,)
#: Section 8 [documented]: the asset type of Farmlands, by the liveness of the account.
FARMLANDS_ASSETS = {False: "farmlands.nzd.main", True: "farmlands.nzd.test"}

#: Section 3: a revision of 2022 spelled it with a second S; both are read [documented].
LIVENESS = frozenset({"LIVENESS_MISMATCH", "LIVENESS_MISSMATCH"})

#: The id of a batch that does not exist: the test button of a connection asks for it.
MADE_UP_BATCH = "airflowProviderBulkTest"

_UNKNOWN_ROUTE = "an unknown route or method, not a missing object: check the base URL of the connection"
_NO_BATCH = "no such batch, or no permission to read it; Centrapay does not tell which"
_NOT_CREATED = "no permission to create this batch for this account"
_WRONG_LIVENESS = (
    "the test flag of the batch is not that of the account: test=True is for test accounts alone, and a test account "
    "takes nothing else"
)
_NO_ASSET = "no such object, or no permission to read it; Centrapay does not tell which"

#: What a retry does when the answer to a creation was lost (section 3: no idempotency key, no list).
WHEN_LOST = "A batch may exist all the same; nothing is posted again by itself."


class CentrapayBatchError(msgspec.Struct, frozen=True, kw_only=True):
    """One error of a batch (section 4). ``index`` is an offset with an undocumented base: it is only shown.

    The others may hold personal data of a record: no repr shows them.
    """

    message: str = ""
    external_id: str | None = None
    index: str | None = None

    def __repr__(self) -> str:
        return f"CentrapayBatchError(index={self.index!r})"


class CentrapayBatch(msgspec.Struct, frozen=True, kw_only=True):
    """A batch as last seen (section 4). Its URL is left out on purpose.

    :param count: records as the platform counts them; None where it does not say.
    :param error_count: errors as the platform counts them; None where it does not say.
    :param errors: the errors that the platform lists, perhaps fewer than it counts.
    :param unreadable: names of the counts that do not hold a whole number from 0 up.
    """

    id: str
    status: str = ""
    type: str = ""
    account_id: str = ""
    test: bool | None = None
    count: int | None = None
    error_count: int | None = None
    errors: tuple[CentrapayBatchError, ...] = ()
    unreadable: tuple[str, ...] = ()


class Asset(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An asset (section 8). Amounts are in cents, as texts with any number of digits.

    Most of it is personal data: the repr shows its id, type and status.
    """

    id: str = ""
    account_id: str = ""
    category: str = ""
    type: str = ""
    liveness: str = ""
    status: str = ""
    description: str | None = None
    created_at: str | None = None
    currency: str | None = None
    balance: str | int | None = None
    available_balance: str | int | None = None
    external_id: str | None = None

    def __repr__(self) -> str:
        return f"Asset({self.id!r}, {self.type!r}, {self.status!r})"


class AssetPage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A page of assets; ``next_page_key`` is absent on the last one (section 7 [documented])."""

    items: list[Asset]
    next_page_key: str | None = None


class _RawError(msgspec.Struct, rename="camel"):
    message: Any = ""
    external_id: Any = None
    ref: Any = None  # the name of 2022 [documented]
    index: Any = None


class _RawBatch(msgspec.Struct, rename="camel"):
    id: str
    status: Any = ""
    type: Any = ""
    account_id: Any = ""
    test: Any = None
    count: Any = None
    total_count: Any = None
    error_count: Any = None
    errors: Any = None


class _CentrapayErrorBody(msgspec.Struct):
    error: Any = None
    message: Any = None


# Numbers with a fraction are read as text: as floats they would lose digits.
_batch = json_reader(_RawBatch, float_hook=str)
_errors = json_reader(_CentrapayErrorBody)
_asset = json_reader(Asset, strict=False)
_assets = json_reader(AssetPage, strict=False)


def whole(value: object) -> int:
    """Read a BigNumber that counts: a text or a number, whole, from 0 up (section 4).

    :raises ValueError: anything else.
    """
    try:
        number = (
            Decimal(value) if isinstance(value, int | str) and not isinstance(value, bool) else Decimal(-1)
        )
    except InvalidOperation:
        raise ValueError("no number") from None
    # A number with a huge exponent would become an integer of billions of digits.
    if not number.is_finite() or number < 0 or number.adjusted() > 18 or number != number.to_integral_value():
        raise ValueError("no whole number from 0 up")
    return int(number)


def read_batch(body: bytes) -> CentrapayBatch:
    """Read a batch; where other fields cannot be read, the id is returned all the same.

    :raises ValueError: no JSON object with an id.
    """
    raw = _batch(body)
    if not raw.id:
        raise ValueError("a batch without an id")
    unreadable: list[str] = []

    def read(*names: str) -> int | None:
        # Section 4: the current documentation names this field both count and totalCount.
        for name in names:
            value = getattr(raw, "".join(f"_{c.lower()}" if c.isupper() else c for c in name))
            if value is not None:
                try:
                    return whole(value)
                except ValueError:
                    unreadable.append(name)
                    return None
        return None

    return CentrapayBatch(
        id=raw.id,
        status=_text(raw.status),
        type=_text(raw.type),
        account_id=_text(raw.account_id),
        test=raw.test if isinstance(raw.test, bool) else None,
        count=read("count", "totalCount"),
        error_count=read("errorCount"),
        errors=_read_errors(raw.errors),
        unreadable=tuple(unreadable),
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _read_errors(value: object) -> tuple[CentrapayBatchError, ...]:
    found = []
    for one in value if isinstance(value, list) else ():
        error = msgspec.convert(one, _RawError) if isinstance(one, dict) else _RawError(message=one)
        named = error.external_id if error.external_id is not None else error.ref
        found.append(
            CentrapayBatchError(
                message="" if error.message is None else str(error.message),
                external_id=None if named is None else str(named),
                index=None if error.index is None else str(error.index),
            )
        )
    return tuple(found)


def snapshot(batch: CentrapayBatch) -> RemoteSnapshot:
    """Return the state of a batch for those who wait for it (section 5).

    A batch that is not over is GOING and never PENDING, since no batch can be cancelled. Accepted are the records
    counted but for those in error [assumed: the documentation does not say whether ``count`` holds the failed ones].
    """
    remote_status = {COMPLETE: RemoteStatus.SUCCEEDED, ERROR: RemoteStatus.FAILED}.get(
        batch.status, RemoteStatus.GOING
    )
    failed = batch.error_count
    # The list may hold fewer errors than were counted; where nothing was counted, the list is all there is.
    failed = max(failed or 0, len(batch.errors)) if batch.errors else failed
    counted = remote_status is RemoteStatus.SUCCEEDED and batch.count is not None
    return RemoteSnapshot(
        id=batch.id,
        remote_status=remote_status,
        status=batch.status,
        lines=batch.count if remote_status.over else None,
        accepted=max(0, (batch.count or 0) - (failed or 0)) if counted else None,
        failed=failed if remote_status.over else None,
        unknown=batch.status not in STATUSES,
        owner=batch.account_id or None,
        message=said(batch.errors[0].message) if batch.errors else "",
    )


def said(text: str) -> str:
    """Reduce a platform's text to its kind: the text may hold a signed URL or quote a record."""
    # Tried from the beginning of a run alone: a long text is then read once.
    return reduce_message(re.sub(r"(?<![a-zA-Z0-9+.-])[a-zA-Z0-9+.-]++://\S+", "*", text))


# -- The URL that Centrapay fetches ----------------------------------------------------------------------------


def expiry(url: str) -> float | None:
    """Return the time at which a signed URL stops working, in seconds since 1970; None where the URL does not say.

    The parameters of the large object stores are read: S3 (both generations), Google, Azure.
    """
    until = _expiry(url)
    return until if until is not None and 0 < until < _YEAR_9999 else None


def _expiry(url: str) -> float | None:
    from datetime import UTC, datetime

    query = {name.lower(): value for name, value in parse_qsl(urlsplit(url).query)}
    try:
        for prefix in ("x-amz", "x-goog"):
            if f"{prefix}-expires" in query:
                begin = datetime.strptime(query[f"{prefix}-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
                return begin.timestamp() + float(query[f"{prefix}-expires"])
        if "expires" in query:
            return float(query["expires"])
        if "se" in query and "sig" in query:
            return datetime.fromisoformat(query["se"]).timestamp()
    except (ValueError, KeyError):
        return None
    return None


#: The latest time that is shown as a date.
_YEAR_9999 = 253_370_764_800.0


def clock_time(seconds: float) -> str:
    """Return seconds since 1970 as a date and time in UTC, for messages."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def bare(url: str) -> str:
    """Return a URL without the parts that may be secret: query, fragment and password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


# -- Answers ----------------------------------------------------------------------------------------------------


def _problem(forbidden: str) -> Any:
    """Return a function that reads bad answers (section 7); their body may be empty, HTML or anything else.

    :param forbidden: what 403 means for this call; Centrapay also answers 403 where the object does not exist.
    """

    def problem(reply: Reply) -> AnswerProblem | None:
        if reply.status < 300:
            return None
        try:
            failure = _errors(reply.body)
        except ValueError:
            failure = _CentrapayErrorBody()
        message = said(str(failure.message)) if failure.message else ""
        meaning = {403: forbidden, 404: _UNKNOWN_ROUTE}.get(reply.status, "")
        if message in LIVENESS:
            meaning = _WRONG_LIVENESS
        return AnswerProblem(reply.status, message, meaning)

    return problem


def _id(value: str) -> str:
    return quote(value, safe="")


# -- Calls ------------------------------------------------------------------------------------------------------


def create_batch(body: Mapping[str, Any]) -> Call[CentrapayBatch]:
    """Create a batch (section 3). Not repeatable: neither an idempotency key nor a list of batches is documented."""
    return Call(
        "POST",
        "/api/batches",
        f"create the {body.get('type')} batch",
        lambda reply: read_batch(reply.body),
        _problem(_NOT_CREATED),
        json=dict(body),
        repeatable=False,
        when_lost=WHEN_LOST,
    )


def get_batch(batch_id: str) -> Call[CentrapayBatch]:
    """Get one batch."""
    return Call(
        "GET",
        f"/api/batches/{_id(batch_id)}",
        f"read batch {batch_id}",
        lambda reply: read_batch(reply.body),
        _problem(_NO_BATCH),
    )


def get_asset(asset_id: str) -> Call[Asset]:
    """Get one asset (section 8)."""
    return _asset_call(f"/api/assets/{_id(asset_id)}", f"read asset {asset_id}")


def get_asset_summary(asset_id: str) -> Call[Asset]:
    """Get the summary of one asset (section 8)."""
    return _asset_call(f"/api/assets/{_id(asset_id)}/summary", f"read the summary of asset {asset_id}")


def get_asset_by_external_id(asset_type: str, external_id: str) -> Call[Asset]:
    """Get an asset by the id that its issuer gave it (section 8); it exists when its record was loaded."""
    path = f"/api/assets/{_id(asset_type)}/external-id/{_id(external_id)}"
    return _asset_call(path, f"find the {asset_type} asset of an external id")


def list_account_assets(
    account_id: str, *, external_id: str | None = None, page_key: str | None = None
) -> Call[AssetPage]:
    """List a page of an account's assets, archived ones left out (section 8)."""
    return Call(
        "GET",
        f"/api/accounts/{_id(account_id)}/assets",
        f"list the assets of account {account_id}",
        lambda reply: _assets(reply.body),
        _problem(_NO_ASSET),
        query={"externalId": external_id, "pageKey": page_key},
    )


def _asset_call(path: str, what: str) -> Call[Asset]:
    return Call("GET", path, what, lambda reply: _asset(reply.body), _problem(_NO_ASSET))
