"""What the batch API spells in two ways, cron texts, typed properties: the pure parts."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_bulk.platforms.mediarithmics import integration_batches as batches
from airflow_bulk.platforms.mediarithmics import plugin_properties as properties
from airflow_bulk.platforms.mediarithmics.cron import CronError, cron_warning, next_fire, read_cron
from airflow_bulk.platforms.mediarithmics.plugin_properties import PluginProperty, PropertyError
from airflow_bulk.platforms.status import RemoteStatus

SIZES = st.sampled_from([*batches.SIZES, "XL"])


@given(st.fixed_dictionaries(dict.fromkeys(batches.SIZE_NAMES, SIZES)), st.sampled_from(batches.SIZE_FIELDS))
def test_sizes_read_back_as_the_seed_spells_them(sizes: dict[str, str], spelling: str) -> None:
    instance = batches.IntegrationBatchInstance(id="1", **batches.size_body(sizes, spelling))
    assert {name: instance.size(name) for name in sizes} == {
        name: batches.documented_size(size) for name, size in sizes.items()
    }


def test_each_spelling_stays_within_its_own_words() -> None:
    sizes = dict.fromkeys(batches.SIZE_NAMES, "EXTRA_LARGE")
    assert set(batches.size_body(sizes, "documented").values()) == {"EXTRA_LARGE"}
    assert batches.size_body(sizes, "execution_container") == {
        "execution_container_ram_size": "XL",
        "execution_container_cpu_size": "XL",
        "execution_container_disk_size": "XL",
    }


@pytest.mark.parametrize(
    ("version", "human"),
    [
        ("1.0.0", True),
        ("1.2.0-rcl", True),
        ("3401", False),
        ("1.0", False),
        ("v1.0.0", False),
        ("1.0.²", False),
    ],
)
def test_versions_are_told_from_row_ids(version: str, human: bool) -> None:
    assert batches.is_human_version(version) is human


@pytest.mark.parametrize(
    ("existing", "version", "proposed"),
    [
        (["1.0.0"], "1.0.0", "1.0.1"),
        (["1.0.0", "1.0.7", "1.1.9"], "1.0.0", "1.0.8"),
        (["1.2.0-rcl"], "1.2.0-rcl", "1.2.1"),
        (["odd", "2.0.²", "2.0.١٢"], "2.0.3", "2.0.4"),
    ],
)
def test_the_next_version_is_free(existing: list[str], version: str, proposed: str) -> None:
    assert batches.next_version(existing, version) == proposed


@pytest.mark.parametrize("text", ["0 3 * * *", "*/5  1-4 * 7 mon", "0 0 1,15 * *"])
def test_good_crons(text: str) -> None:
    assert read_cron(text) == " ".join(text.split())


@pytest.mark.parametrize(
    "text", ["", "0 3 * *", "0 0 3 * * *", "@daily", "61 * * * *", "0 0 31 2 *", "a b c d e"]
)
def test_bad_crons_say_why(text: str) -> None:
    with pytest.raises(CronError, match=r"five fields|cannot be read"):
        read_cron(text)


@pytest.mark.parametrize(
    ("cron", "odd"),
    [
        ("* * * 7 *", True),
        ("* 3 * * *", True),
        ("*/1 * * * 1", True),
        ("* * * * *", False),
        ("0 * * 7 *", False),
        ("*/5 3 * * *", False),
    ],
)
def test_a_schedule_of_every_minute_of_something_is_odd(cron: str, odd: bool) -> None:
    assert (cron_warning(cron) is not None) is odd


def test_crons_fire_in_utc() -> None:
    at = datetime(2031, 4, 2, 2, 59, tzinfo=UTC)
    assert next_fire("0 3 * * *", at) == datetime(2031, 4, 2, 3, 0, tzinfo=UTC)
    assert next_fire("0 3 * * *", next_fire("0 3 * * *", at)).day == 3


BUILT = [
    properties.string_property("s", "secret-text"),
    properties.pixel_tag_property("p", "<img>"),
    properties.int_property("i", 5),
    properties.double_property("d", 0.5),
    properties.boolean_property("b", True),
    properties.url_property("u", "https://example.org"),
    properties.data_file_property("f", "mics://data_file/x", 1_932_858_000_000),
    properties.asset_property("a", "12", "a.png", "/a.png"),
    properties.asset_file_property("af", "12", "a.png", "/a.png"),
    properties.asset_folder_property("ad", "12", "a", "/a"),
    properties.ad_layout_property("l", "3", "4"),
    properties.style_sheet_property("ss", "3"),
    properties.recommender_property("r", "77"),
    properties.native_property("nd", "DATA", True, more={"type": "SPONSORED"}),
    properties.native_property("nt", "TITLE", False),
    properties.native_property("ni", "IMAGE", False),
]


def test_there_is_a_builder_for_every_type() -> None:
    assert {one.property_type for one in BUILT} == set(properties.VALUE_KEYS)


@pytest.mark.parametrize("built", BUILT, ids=lambda one: one.property_type)
def test_a_property_is_the_same_as_itself_and_hides_its_value(built: PluginProperty) -> None:
    body = built.body()
    assert built.differences(body["property_type"], body["origin"], body["value"]) == []
    assert built.differences("STRANGE", body["origin"], body["value"])
    first = properties.VALUE_KEYS[built.property_type][0]
    assert built.differences(body["property_type"], body["origin"], {**body["value"], first: "other"}) == [
        f"{built.technical_name}: another value"
    ]
    assert "secret-text" not in repr(built)


@pytest.mark.parametrize(
    "make",
    [
        lambda: properties.int_property("limit", "5"),
        lambda: properties.int_property("limit", 5.5),
        lambda: properties.int_property("limit", True),
        lambda: properties.double_property("limit", float("nan")),
        lambda: properties.boolean_property("limit", 1),
        lambda: properties.string_property("limit", 5),  # type: ignore[arg-type]
        lambda: PluginProperty("limit", "INT", {}),
        lambda: PluginProperty("limit", "INTEGER", {"value": 1}),
        lambda: properties.int_property("limit", 1, origin="SOMEWHERE"),
    ],
)
def test_a_property_of_the_wrong_type_names_itself(make) -> None:
    with pytest.raises(PropertyError, match="limit"):
        make()


def test_a_rendered_template_is_read_as_its_type_asks() -> None:
    declared = properties.int_property("limit", "{{ params.limit }}")
    declared.value = {"value": "17"}
    assert declared.body()["value"] == {"value": 17}
    declared.value = {"value": "many"}
    with pytest.raises(PropertyError, match=r"limit.*whole number"):
        declared.body()


@pytest.mark.parametrize(
    ("status", "remote_status", "unknown"),
    [
        ("PENDING", RemoteStatus.PENDING, False),
        ("RUNNING", RemoteStatus.GOING, False),
        ("SUCCEEDED", RemoteStatus.SUCCEEDED, False),
        ("FAILED", RemoteStatus.FAILED, False),
        ("CANCELED", RemoteStatus.CANCELED, False),
        ("HIBERNATING", RemoteStatus.GOING, True),
    ],
)
def test_an_execution_as_seen(status: str, remote_status: RemoteStatus, unknown: bool) -> None:
    execution = batches.IntegrationBatchExecution(
        id="7",
        status=status,
        parameters=batches.IntegrationBatchParameters(
            execution_type="CRON", expected_start_date="1932858000000"
        ),
        creation_date=1_932_857_000_000,
        num_tasks="12",
        erroneous_tasks=2,
    )
    seen = batches.run_snapshot(execution)
    assert (seen.remote_status, seen.unknown, seen.execution_type) == (remote_status, unknown, "CRON")
    assert (seen.expected_start, seen.created, seen.lines, seen.failed) == (
        1_932_858_000.0,
        1_932_857_000.0,
        12,
        2,
    )


def test_links_need_a_base_and_an_organisation() -> None:
    link = batches.batch_console_url("https://computing.example/", "900", "8801")
    assert link == "https://computing.example/#/o/900/jobs/integration_batch_instances/8801"
    assert batches.batch_console_url("", "900", "8801") is None
    assert batches.batch_console_url("https://computing.example", "", "8801") is None
    for odd in ("²", "١٢", "batch"):
        assert batches.batch_console_url("https://computing.example", "900", odd) is None
        assert batches.batch_console_url("https://computing.example", odd, "8801") is None
