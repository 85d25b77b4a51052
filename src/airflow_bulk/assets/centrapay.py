"""Assets of Centrapay: ``centrapay://<account id>/<batch type>``, what one account got by batches of one type."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_bulk.assets.address import convert_asset_to_openlineage, owner_and_type

if TYPE_CHECKING:
    from urllib.parse import SplitResult

    from airflow.sdk import Asset

__all__ = ["convert_asset_to_openlineage", "create_asset", "sanitize_uri"]

FORM = "centrapay://<account id>/<batch type>"
_WORD = re.compile(r"[A-Za-z0-9._-]+")


def create_asset(*, account_id: str, type: str, extra: dict[str, Any] | None = None) -> Asset:
    """Make the asset of what batches of one type bring to an account.

    :param type: such as ``farmlands-external-asset``; the list may grow, so any word is taken.
    :raises ValueError: the account or the type is no word.
    """
    from airflow.sdk import Asset

    # Airflow takes the URI as it is written for the name, and tells assets by both: so it is written in one way.
    uri = sanitize_uri(urlsplit(f"centrapay://{account_id}/{type}")).geturl()
    return Asset(uri=uri, extra=extra or {})


def sanitize_uri(uri: SplitResult) -> SplitResult:
    """Check a URI and normalise it: the batch type in lower case; an account's id is left as it is.

    :raises ValueError: it names no account or no type.
    """
    account_id, batch_type = owner_and_type(uri, FORM)
    if not (_WORD.fullmatch(account_id) and _WORD.fullmatch(batch_type)):
        raise ValueError(
            "The account and the type of this asset URI must be words of letters, digits, dots, dashes and underscores. "
            f"Its form is {FORM}; no template is rendered in it."
        )
    return uri._replace(path=f"/{batch_type.lower()}")
