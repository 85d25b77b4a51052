"""What the asset URIs of all platforms share: ``scheme://owner/type``, without a credential and without anything else.

Airflow calls ``sanitize_uri`` of a platform for each ``Asset`` whose URI has its scheme, while the DAG file is parsed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

if TYPE_CHECKING:
    from airflow.sdk import Asset
    from openlineage.client.event_v2 import Dataset


def owner_and_type(uri: SplitResult, form: str) -> tuple[str, str]:
    """Take an asset URI apart.

    :param uri: as Airflow has split it: without its fragment, and without blanks at its end.
    :param form: how a URI of this scheme looks, for the error.
    :returns: what stands before the slash, and what stands after it.
    :raises ValueError: the URI has another form, or a user, a port or a query. No value is named: it may be a secret.
    """
    owner, kind = uri.netloc, uri.path.removeprefix("/")
    if "@" in owner:
        raise ValueError(
            f"An asset URI must hold no credentials; it is stored and shown in plain text. Its form is {form}."
        )
    if ":" in owner or uri.query or not owner or not kind or "/" in kind:
        raise ValueError(f"This asset URI does not have the form {form}; it has no port and no query.")
    return owner, kind


def to_openlineage(uri: str) -> Dataset:
    """Make the OpenLineage dataset of an asset URI: ``scheme://owner`` is the namespace, the type is the name.

    :param uri: as ``sanitize_uri`` has left it.
    """
    from openlineage.client.event_v2 import Dataset

    parts = urlsplit(uri)
    return Dataset(namespace=f"{parts.scheme}://{parts.netloc}", name=parts.path.removeprefix("/"))


def convert_asset_to_openlineage(asset: Asset, lineage_context: object) -> Dataset:
    """Translate an asset; Airflow's OpenLineage provider calls it.

    :param lineage_context: the hook that used the asset; not needed.
    """
    return to_openlineage(asset.uri)
