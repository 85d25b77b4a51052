"""Ensuring, pausing and resuming batches through real HTTP, and every argument that cannot be used."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.emulator.integration_batch_handle import IntegrationBatchEmulator
from airflow_bulk.operators.integration_batch import (
    EnsureIntegrationBatchOperator,
    PauseIntegrationBatchOperator,
    ResumeIntegrationBatchOperator,
    boolean_property,
    int_property,
    string_property,
    url_property,
)

STATIC = {"origin": "PLUGIN_STATIC"}
PROPERTIES = (
    string_property("provider", "example", **STATIC),
    string_property("name", "first", **STATIC),
    int_property("limit", 10),
    string_property("api_key", "k-3c2a-secret"),
    url_property("callback", "https://example.org", origin="INSTANCE"),
)


def ensuring(**changed: Any) -> Any:
    declared = {
        "group_id": "com.example.batch",
        "artifact_id": "nightly",
        "version_id": "1.0.0",
        "name": "nightly",
        "plugin_properties": list(PROPERTIES),
        "settle": 0.1,
    }
    return lambda: EnsureIntegrationBatchOperator(task_id="t", **{**declared, **changed})


def acts(emulator: Emulator) -> list[tuple[str, str]]:
    return [(one["method"], one["path"]) for one in emulator.requests() if one["method"] != "GET"]


def test_all_three_are_created_and_a_second_run_changes_nothing(
    emulator: Emulator, batches: IntegrationBatchEmulator, task: Any
) -> None:
    one = task(ensuring(cron="0 3 * * *", cron_status="PAUSED", ram_size="XL"))
    first = one.run()
    assert first["created"] == ["plugin", "version", "instance"]
    assert first["updated"] == []
    assert one.pushed["instance_id"] == first["instance_id"]
    (instance,) = batches.instances()
    assert (instance["cron"], instance["cron_status"]) == ("0 3 * * *", "PAUSED")
    assert [instance[name] for name in ("ram_size", "cpu_size", "disk_size")] == ["EXTRA_LARGE", "LOW", "LOW"]
    assert (instance["version_id"], instance["version_value"]) == (first["version_id"], "1.0.0")
    emulator.clear_requests()
    again = task(ensuring(cron="0 3 * * *", cron_status="PAUSED", ram_size="EXTRA_LARGE")).run()
    assert again["created"] == again["updated"] == acts(emulator) == []
    assert again["instance_id"] == first["instance_id"]


def test_the_instance_alone_is_updated_and_what_is_not_declared_stays(
    emulator: Emulator, batches: IntegrationBatchEmulator, task: Any
) -> None:
    task(ensuring(cron="0 3 * * *", cron_status="ACTIVE", cpu_size="LARGE")).run()
    emulator.clear_requests()
    result = task(ensuring(disk_size="MEDIUM")).run()
    assert result["updated"] == ["cpu_size", "disk_size", "ram_size"]
    assert [method for method, _ in acts(emulator)] == ["PUT"]
    (instance,) = batches.instances()
    assert (instance["cron"], instance["cpu_size"], instance["disk_size"]) == ("0 3 * * *", "LARGE", "MEDIUM")


def test_an_instance_moves_to_another_version(batches: IntegrationBatchEmulator, task: Any) -> None:
    task(ensuring()).run()
    changed = [*PROPERTIES[:2], int_property("limit", 20)]
    result = task(ensuring(version_id="1.1.0", plugin_properties=changed)).run()
    assert (result["created"], result["updated"]) == (["version"], ["version_id", "version_value"])
    assert batches.instances()[0]["version_value"] == "1.1.0"
    by_row_id = task(ensuring(version_id=result["version_id"], plugin_properties=None)).run()
    assert by_row_id["version"] == "1.1.0"


def test_the_consoles_spelling_of_sizes_is_kept(batches: IntegrationBatchEmulator, task: Any) -> None:
    task(ensuring(size_fields="execution_container", ram_size="EXTRA_LARGE")).run()
    task(ensuring(cpu_size="LARGE")).run()
    (instance,) = batches.instances()
    assert "ram_size" not in instance
    assert instance["execution_container_ram_size"] == "XL"
    assert instance["execution_container_cpu_size"] == "LARGE"


def test_properties_of_the_instance(emulator: Emulator, task: Any) -> None:
    settings = [
        int_property("limit", "{{ params.limit }}"),
        url_property("callback", "https://example.org/b"),
    ]
    one = task(ensuring(instance_properties=settings))
    assert one.run(limit=25)["updated"] == ["limit", "callback"]
    emulator.clear_requests()
    settings = [int_property("limit", 25), url_property("callback", "https://example.org/b")]
    assert task(ensuring(instance_properties=settings)).run()["updated"] == acts(emulator) == []


@pytest.mark.parametrize("fault", ["lost_answer", "half_answer"])
@pytest.mark.parametrize("path", ["/v1/plugins$", "/versions$", "/integration_batch_instances$"])
def test_a_lost_answer_creates_nothing_twice(
    emulator: Emulator, batches: IntegrationBatchEmulator, task: Any, fault: str, path: str
) -> None:
    emulator.fault(fault, path=path, times=1)
    result = task(ensuring()).run()
    assert [call for call in acts(emulator) if call[0] == "POST"] == [
        ("POST", "/v1/plugins"),
        ("POST", f"/v1/plugins/{result['plugin_id']}/versions"),
        ("POST", "/v1/integration_batch_instances"),
    ]
    assert len(batches.instances()) == 1


def test_a_crash_between_two_creations_is_gone_on_from(
    emulator: Emulator, batches: IntegrationBatchEmulator, task: Any
) -> None:
    emulator.fault("server_error", path="/integration_batch_instances$", method="POST", status=400, times=1)
    one = task(ensuring())
    with pytest.raises(AirflowException):
        one.run()
    assert one.run()["created"] == ["instance"]
    assert len(batches.instances()) == 1


def test_a_version_that_differs_is_listed_and_the_next_one_proposed(emulator: Emulator, task: Any) -> None:
    task(ensuring()).run()
    emulator.clear_requests()
    changed = [
        *PROPERTIES[:2],
        boolean_property("limit", True),
        string_property("api_key", "k-other-secret"),
        string_property("region", "eu"),
    ]
    with pytest.raises(AirflowFailException) as failed:
        task(ensuring(plugin_properties=changed)).run()
    said = str(failed.value)
    for part in (
        "api_key: another value",
        "callback: not declared",
        "limit: type INT, declared BOOLEAN",
        "region: not there",
        "'1.0.1'",
    ):
        assert part in said
    assert "secret" not in said
    assert acts(emulator) == []


BAD = {
    "half a cron pair": ({"cron": "0 3 * * *"}, "cron_status is missing"),
    "the other half": ({"cron_status": "ACTIVE"}, "cron is missing"),
    "invalid cron": ({"cron": "0 61 * * *", "cron_status": "ACTIVE"}, "cron '0 61"),
    "cron of six fields": ({"cron": "0 0 3 * * *", "cron_status": "ACTIVE"}, "five fields"),
    "cron status": ({"cron": "0 3 * * *", "cron_status": "ON"}, "cron_status must be one of"),
    "wrong size": ({"ram_size": "HUGE"}, "ram_size must be one of"),
    "size spelling": ({"size_fields": "both"}, "size_fields must be one of"),
    "bad version text": ({"version_id": "1.0"}, "version_id must be like 1.0.0"),
    "missing property": ({"plugin_properties": [string_property("name", "x")]}, "must hold provider"),
    "no properties": ({"plugin_properties": None}, "no version 1.0.0"),
    "property twice": ({"plugin_properties": [*PROPERTIES, PROPERTIES[0]]}, "twice: provider"),
    "not a property": ({"plugin_properties": [{"technical_name": "x"}]}, "must hold properties, not dict"),
    "same names": ({"artifact_id": "com.example.batch"}, "artifact_id must differ"),
    "unknown version": ({"version_id": "99", "plugin_properties": None}, "names no version"),
    "unknown instance property": ({"instance_properties": [int_property("speed", 1)]}, "names speed"),
    "static instance property": ({"instance_properties": [PROPERTIES[1]]}, "names name"),
    "property of the wrong type": ({"instance_properties": [string_property("limit", "1")]}, "says INT"),
    "empty name": ({"name": " "}, "name must be a text"),
    "no organisation right": ({"organisation_id": "901"}, "403"),
}


@pytest.mark.parametrize(("changed", "said"), BAD.values(), ids=BAD)
def test_what_cannot_be_ensured_says_why(
    batches: IntegrationBatchEmulator, task: Any, changed: dict[str, Any], said: str
) -> None:
    with pytest.raises(AirflowFailException, match=said):
        task(ensuring(**changed)).run()
    assert batches.instances() == []


def test_a_rendered_property_that_does_not_fit_its_type(batches: IntegrationBatchEmulator, task: Any) -> None:
    properties = [*PROPERTIES[:2], int_property("limit", "{{ params.limit }}")]
    with pytest.raises(AirflowFailException, match=r"limit .INT.: value must be a whole number"):
        task(ensuring(plugin_properties=properties)).run(limit="many")


def test_an_archived_instance_is_not_replaced(batches: IntegrationBatchEmulator, task: Any) -> None:
    archived = batches.add("nightly", archived=True)
    declared = {"group_id": "com.example.batch", "plugin_properties": None}
    with pytest.raises(AirflowFailException, match=f"archived instance {archived}"):
        task(ensuring(**declared)).run()


def test_two_instances_of_one_name_are_named(batches: IntegrationBatchEmulator, task: Any) -> None:
    ids = [batches.add("nightly"), batches.add("nightly")]
    with pytest.raises(AirflowFailException, match=", ".join(ids)):
        task(ensuring(plugin_properties=None)).run()


def test_a_schedule_of_every_minute_is_warned_about(
    emulator: Emulator, task: Any, caplog: pytest.LogCaptureFixture
) -> None:
    task(ensuring(cron="* * * 7 *", cron_status="PAUSED")).run()
    assert "every minute of the time" in caplog.text


# Pause and resume.


def pausing(instance_id: str) -> Any:
    return lambda: PauseIntegrationBatchOperator(task_id="t", instance_id=instance_id)


def resuming(instance_id: str, **more: Any) -> Any:
    return lambda: ResumeIntegrationBatchOperator(task_id="t", instance_id=instance_id, **more)


def test_a_pause_says_how_many_coming_executions_it_cancelled(
    batches: IntegrationBatchEmulator, task: Any
) -> None:
    instance = batches.add(cron="0 3 1 1 *", cron_status="ACTIVE")
    result = task(pausing(instance)).run()
    assert result == {
        "instance_id": instance,
        "cron_status": "PAUSED",
        "was_active": True,
        "canceled": 1,
        "still_pending": [],
    }
    assert batches.instances()[0]["cron_status"] == "PAUSED"
    resumed = task(resuming(instance)).run()
    assert resumed["next_run"].endswith("-01-01T03:00:00+00:00")
    assert batches.instances()[0]["cron_status"] == "ACTIVE"


def test_a_retry_of_a_pause_tells_what_the_first_try_found(
    emulator: Emulator, batches: IntegrationBatchEmulator, task: Any
) -> None:
    instance = batches.add(cron="0 3 1 1 *", cron_status="ACTIVE")
    one = task(pausing(instance))
    # The PUT is carried out; the list after it is refused.
    emulator.fault("forbidden", method="GET", path="/executions$", skip=1, times=1)
    with pytest.raises(AirflowFailException, match="403"):
        one.run()
    assert batches.instances()[0]["cron_status"] == "PAUSED"
    told = one.run()
    assert told["canceled"] == 1
    # Killed after its end: the next try tells the same. Cleared: it counts anew.
    assert one.run() == told
    one.clear()
    assert one.run()["canceled"] == 0


def test_an_instance_that_somebody_paused_before_stays_paused(
    batches: IntegrationBatchEmulator, task: Any
) -> None:
    instance = batches.add(cron="0 3 1 1 *", cron_status="PAUSED")
    paused = task(pausing(instance)).run()
    assert (paused["was_active"], paused["canceled"]) == (False, 0)
    left = task(resuming(instance, only_if=str(paused["was_active"]))).run()
    assert (left["cron_status"], left["next_run"]) == ("PAUSED", None)


@pytest.mark.parametrize("make", [pausing, resuming])
def test_what_cannot_be_paused_says_why(batches: IntegrationBatchEmulator, task: Any, make: Any) -> None:
    with pytest.raises(AirflowFailException, match="has no cron"):
        task(make(batches.add("no-cron"))).run()
    archived = batches.add("old", cron="0 3 1 1 *", cron_status="PAUSED", archived=True)
    with pytest.raises(AirflowFailException, match=f"archived instance {archived}"):
        task(make(archived)).run()
    with pytest.raises(AirflowFailException, match="404"):
        task(make("777")).run()
    with pytest.raises(AirflowFailException, match="made of digits"):
        task(make("the-batch")).run()
