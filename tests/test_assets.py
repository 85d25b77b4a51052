"""Asset URIs of the platforms, as Airflow reads them."""

from __future__ import annotations

import pytest
from airflow.sdk import Asset
from hypothesis import given
from hypothesis import strategies as st

from airflow_bulk.assets import centrapay, mediarithmics
from airflow_bulk.platforms.mediarithmics.document_imports import DOCUMENT_TYPES

words = st.text(st.sampled_from("abcXYZ019._-"), min_size=1, max_size=30)


@given(st.integers(1, 10**9), st.sampled_from(DOCUMENT_TYPES), st.booleans())
def test_one_thing_has_one_uri(datamart: int, document_type: str, lower: bool) -> None:
    written = document_type.lower() if lower else document_type
    asset = Asset(uri=f"Mediarithmics://0{datamart}/{written}/")
    assert asset.uri == f"mediarithmics://{datamart}/{document_type}"
    assert Asset(uri=asset.uri).uri == asset.uri
    made = mediarithmics.create_asset(datamart_id=f"0{datamart}", document_type=written)
    assert (made.name, made.uri) == (asset.uri, asset.uri), "Airflow tells assets by name and URI"
    dataset = mediarithmics.convert_asset_to_openlineage(asset, None)
    assert (dataset.namespace, dataset.name) == (f"mediarithmics://{datamart}", document_type)


@given(words, words)
def test_an_account_keeps_its_case(account: str, batch_type: str) -> None:
    asset = centrapay.create_asset(account_id=account, type=batch_type)
    assert asset.name == asset.uri == f"centrapay://{account}/{batch_type.lower()}"
    assert Asset(uri=asset.uri).uri == asset.uri
    made = centrapay.convert_asset_to_openlineage(asset, None)
    assert (made.namespace, made.name) == (f"centrapay://{account}", batch_type.lower())


def test_the_other_spelling_of_a_type() -> None:
    assert Asset(uri="mediarithmics://1/USER_DEVICE_POINT_DELETION").uri.endswith(
        "USER_DEVICE_POINTS_DELETION"
    )


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("mediarithmics://1500", "does not have the form"),
        ("mediarithmics:///USER_PROFILE", "does not have the form"),
        ("mediarithmics://1500/USER_PROFILE/more", "does not have the form"),
        ("mediarithmics://1500:443/USER_PROFILE", "no port"),
        ("mediarithmics://1500/USER_PROFILE?token=tell-nobody", "no query"),
        ("mediarithmics://tell-nobody@1500/USER_PROFILE", "no credentials"),
        ("mediarithmics://crm/USER_PROFILE", "no number from 1 up"),
        ("mediarithmics://0/USER_PROFILE", "no number from 1 up"),
        ("mediarithmics://\u0661/USER_PROFILE", "no number from 1 up"),
        ("mediarithmics://{{ params.datamart }}/USER_PROFILE", "no template"),
        ("mediarithmics://1500/USERS", "USER_ACTIVITY, USER_SEGMENT"),
        ("centrapay://tell-nobody@a/ticketek-ticket", "no credentials"),
        ("centrapay://a b/ticketek-ticket", "must be words"),
        ("centrapay://a/{{ type }}", "must be words"),
    ],
)
def test_what_names_nothing_is_refused(uri: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as raised:
        Asset(uri=uri)
    assert "tell-nobody" not in str(raised.value)
