"""Centrapay batches and the assets they load: records, statuses and calls.

EXPERIMENTAL, as an older page of the vendor marks both operations: they may change or vanish (centrapay.md section 1).
Facts: centrapay.md; a fact marked [assumed] there is a constant here. A batch's URL is a secret: it is
sent, and never read back.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar
from urllib.parse import parse_qsl, quote, urlsplit

import msgspec

from airflow_bulk.platforms.call import AnswerProblem, Call, Reply
from airflow_bulk.platforms.errors import reduce_message
from airflow_bulk.platforms.status import RemoteSnapshot, RemoteStatus

T = TypeVar("T")

#: Section 2 [documented]: live and test share it, the credentials decide.
BASE_URL = "https://service.centrapay.com"
#: Section 7 [documented]: for each calling account, whatever it does.
REQUESTS_PER_MINUTE = 200.0

#: Section 5 [documented]. Anything else is unknown: kept as text, and waited for with a warning [assumed].
COMPLETE, ERROR = "complete", "error"
STATUSES = ("created", "copied", "chunked", COMPLETE, ERROR)

FARMLANDS, TICKETEK, ONBOARD = "farmlands-external-asset", "ticketek-ticket", "business-onboard"
#: Section 6: the types that are current. Others pass with a warning, so that a new one needs no release [assumed].
BATCH_TYPES = (FARMLANDS, TICKETEK, ONBOARD)
#: Section 6: JSON Lines, but for the one that is CSV with a header.
CSV_TYPES = (ONBOARD,)
#: Section 8 [documented]: the asset type of Farmlands, by the liveness of the account.
FARMLANDS_ASSETS = {False: "farmlands.nzd.main", True: "farmlands.nzd.test"}

#: Section 3: a revision of 2022 spelled it with a second S; both are read [documented].
LIVENESS = frozenset({"LIVENESS_MISMATCH", "LIVENESS_MISSMATCH"})

#: The batch that the test button asks for; nobody has it.
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
    """One error of a batch (section 4). ``index`` is an offset whose base is not documented: never computed with."""

    message: str = ""
    external_id: str | None = None
    index: str | None = None


class CentrapayBatch(msgspec.Struct, frozen=True, kw_only=True):
    """A batch as last seen (section 4). Its URL is left out on purpose.

    :param count: records, as far as the platform says; None where it says nothing.
    :param error_count: errors counted; None where it says nothing.
    :param errors: perhaps fewer than were counted.
    :param unreadable: names of counts that hold no whole number from 0 up.
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
    """An asset (section 8); amounts are cents, as texts of any size."""

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


class AssetPage(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A page of assets; ``next_page_key`` is absent on the last one (section 7 [documented])."""

    items: list[Asset]
    next_page_key: str | None = None


class _RawError(msgspec.Struct, rename="camel"):
    message: Any = ""
    external_id: Any = None
    ref: Any = None  # so named in 2022 [documented]
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


# As text: a number with a fraction would else come as a float, and lose digits.
_batch = msgspec.json.Decoder(_RawBatch, float_hook=str)
_errors = msgspec.json.Decoder(_CentrapayErrorBody)
_asset = msgspec.json.Decoder(Asset, strict=False)
_assets = msgspec.json.Decoder(AssetPage, strict=False)


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
    # A huge exponent would make an endless integer.
    if not number.is_finite() or number < 0 or number.adjusted() > 18 or number != number.to_integral_value():
        raise ValueError("no whole number from 0 up")
    return int(number)


def read_batch(body: bytes) -> CentrapayBatch:
    """Read a batch: whatever else is odd about it, its id is not lost.

    :raises msgspec.DecodeError: no JSON object with an id.
    """
    raw = _batch.decode(body)
    if not raw.id:
        raise ValueError("a batch without an id")
    unreadable: list[str] = []

    def read(*names: str) -> int | None:
        # Section 4: current docs contradict themselves between count and totalCount.
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
    """Return what a batch means to who waits (section 5).

    What is not over counts as going: no batch can be cancelled. Accepted records are those counted without those
    in error [assumed: whether ``count`` holds the failed ones is not stated].
    """
    remote_status = {COMPLETE: RemoteStatus.SUCCEEDED, ERROR: RemoteStatus.FAILED}.get(
        batch.status, RemoteStatus.GOING
    )
    failed = batch.error_count
    # The list may hold fewer than were counted, and is all there is where nothing was.
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
    """Reduce a platform's text to its kind: a URL in it may be signed, and prose may quote a record."""
    return reduce_message(re.sub(r"\b[a-zA-Z][a-zA-Z0-9+.-]*://\S+", "*", text))


# -- The URL that Centrapay fetches ----------------------------------------------------------------------------


def expiry(url: str) -> float | None:
    """Seconds since 1970 at which a signed URL stops working; None where it does not say.

    Read as the large object stores write it: S3 (both generations), Google, Azure.
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


#: What a person can still read as a date.
_YEAR_9999 = 253_370_764_800.0


def clock_time(seconds: float) -> str:
    """Seconds since 1970 as a person reads them, in UTC."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def bare(url: str) -> str:
    """A URL without what may be secret in it: neither query nor fragment nor password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


# -- Answers ----------------------------------------------------------------------------------------------------


def _problem(forbidden: str) -> Any:
    """Make the reader of bad answers (section 7); the body may be empty, HTML or anything else.

    :param forbidden: what 403 means for this call: it stands for what is missing, too.
    """

    def problem(reply: Reply) -> AnswerProblem | None:
        if reply.status < 300:
            return None
        try:
            failure = _errors.decode(reply.body)
        except (msgspec.DecodeError, UnicodeDecodeError):
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
    """Create a batch (section 3). Not repeatable: no idempotency key is documented, and no list to look in."""
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
    """Get an asset by the id that its issuer gave it (section 8): tells whether a record was loaded."""
    path = f"/api/assets/{_id(asset_type)}/external-id/{_id(external_id)}"
    return _asset_call(path, f"read the {asset_type} asset with external id {external_id}")


def list_account_assets(
    account_id: str, *, external_id: str | None = None, page_key: str | None = None
) -> Call[AssetPage]:
    """List a page of an account's assets, archived ones left out (section 8)."""
    return Call(
        "GET",
        f"/api/accounts/{_id(account_id)}/assets",
        f"list the assets of account {account_id}",
        lambda reply: _assets.decode(reply.body),
        _problem(_NO_ASSET),
        query={"externalId": external_id, "pageKey": page_key},
    )


def _asset_call(path: str, what: str) -> Call[Asset]:
    return Call("GET", path, what, lambda reply: _asset.decode(reply.body), _problem(_NO_ASSET))
