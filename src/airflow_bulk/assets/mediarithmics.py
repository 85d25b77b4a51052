"""Assets of mediarithmics: ``mediarithmics://<datamart id>/<DOCUMENT_TYPE>``, what one datamart holds of one type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_bulk.assets.address import convert_asset_to_openlineage, owner_and_type

if TYPE_CHECKING:
    from urllib.parse import SplitResult

    from airflow.sdk import Asset

__all__ = ["convert_asset_to_openlineage", "create_asset", "sanitize_uri"]

FORM = "mediarithmics://<datamart id>/<DOCUMENT_TYPE>"


def create_asset(*, datamart_id: str | int, document_type: str, extra: dict[str, Any] | None = None) -> Asset:
    """Make the asset of what a datamart holds of one document type.

    :param document_type: such as ``USER_PROFILE``.
    :raises ValueError: the datamart is no number, or the platform has no such type.
    """
    from airflow.sdk import Asset

    # Airflow takes the URI as it is written for the name, and tells assets by both: so it is written in one way.
    uri = sanitize_uri(urlsplit(f"mediarithmics://{datamart_id}/{document_type}")).geturl()
    return Asset(uri=uri, extra=extra or {})


def sanitize_uri(uri: SplitResult) -> SplitResult:
    """Check a URI and normalise it: the document type in upper case, the datamart's id without zeros before it.

    :raises ValueError: it names no datamart or no document type of the platform (mediarithmics.md section 2.1).
    """
    from airflow_bulk.platforms.mediarithmics.document_imports import DOCUMENT_TYPES, SPELLINGS

    datamart_id, document_type = owner_and_type(uri, FORM)
    if not (datamart_id.isascii() and datamart_id.isdecimal() and int(datamart_id)):
        raise ValueError(
            f"The datamart of this asset URI is no number from 1 up. Its form is {FORM}; no template is rendered in it."
        )
    document_type = SPELLINGS.get(document_type.upper(), document_type.upper())
    if document_type not in DOCUMENT_TYPES:
        known = ", ".join(DOCUMENT_TYPES)
        raise ValueError(f"The asset URI names no document type that the platform has; it has {known}.")
    return uri._replace(netloc=str(int(datamart_id)), path=f"/{document_type}")
