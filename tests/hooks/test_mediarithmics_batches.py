"""Every documented call to plugins and batches, through the hook and over real HTTP."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_bulk.emulator.handle import Emulator
from airflow_bulk.emulator.integration_batch_handle import IntegrationBatchEmulator
from airflow_bulk.hooks.mediarithmics import MediarithmicsHook
from airflow_bulk.hooks.mediarithmics_batches import IntegrationBatchExecutions
from airflow_bulk.hooks.platform_hook import ConnectionFieldError
from airflow_bulk.platforms.call import Reply
from airflow_bulk.platforms.errors import FateUnknown, NotFound, PlatformError, Refused
from airflow_bulk.platforms.mediarithmics import plugin_properties as properties
from airflow_bulk.platforms.mediarithmics.integration_batches import run_snapshot, size_body
from airflow_bulk.platforms.status import RemoteStatus

GROUP = "com.example.batch"
LOW = dict.fromkeys(("ram_size", "cpu_size", "disk_size"), "LOW")
PROPERTIES = [
    properties.string_property("provider", "example", origin="PLUGIN_STATIC"),
    properties.string_property("name", "nightly", origin="PLUGIN_STATIC"),
    properties.int_property("limit", 10),
    properties.url_property("callback", "https://example.org", origin="INSTANCE"),
]


@pytest.fixture
def emulator(bulk_emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    connection = bulk_emulator.connection_json(computing_console_base_url="https://computing.example")
    monkeypatch.setenv("AIRFLOW_CONN_MEDIARITHMICS_DEFAULT", connection)
    bulk_emulator.settings(start_delay=0, run_seconds=0)
    return bulk_emulator


@pytest.fixture
def batches(emulator: Emulator) -> IntegrationBatchEmulator:
    return IntegrationBatchEmulator(emulator)


@pytest.fixture
def hook(emulator: Emulator) -> MediarithmicsHook:
    return MediarithmicsHook()


def now(emulator: Emulator) -> int:
    return emulator.clock.now()


def declare(hook: MediarithmicsHook, **fields) -> str:
    plugin = hook.create_plugin(group_id=GROUP, artifact_id="nightly")
    version = hook.create_plugin_version(plugin.id, "1.0.0", [one.body() for one in PROPERTIES])
    body = {"group_id": GROUP, "artifact_id": "nightly", "version_id": version.id, "name": "nightly"}
    return hook.create_batch_instance({**body, **size_body(LOW, "documented"), **fields}).id


def test_plugins(hook: MediarithmicsHook, emulator: Emulator) -> None:
    plugin = hook.create_plugin(group_id=GROUP, artifact_id="nightly")
    assert (plugin.plugin_type, plugin.organisation_id) == ("INTEGRATION_BATCH", emulator.organisation_id)
    assert plugin.current_version_id is None
    other = hook.create_plugin(group_id=GROUP, artifact_id="hourly")
    assert hook.get_plugin(plugin.id) == plugin
    assert list(hook.list_plugins()) == [plugin, other]
    filters = {
        "plugin_type": "INTEGRATION_BATCH",
        "group_id": GROUP,
        "artifact_id": "hourly",
        "organisation_id": emulator.organisation_id,
    }
    assert list(hook.list_plugins(**filters)) == [other]
    assert list(hook.list_plugins(plugin_type="ML_FUNCTION")) == []


def test_versions(hook: MediarithmicsHook, batches: IntegrationBatchEmulator) -> None:
    plugin = hook.create_plugin(group_id=GROUP, artifact_id="nightly")
    version = hook.create_plugin_version(plugin.id, "1.0.0-rcl", [one.body() for one in PROPERTIES])
    assert (version.version_id, version.plugin_id) == ("1.0.0-rcl", plugin.id)
    assert version.id != version.version_id
    assert hook.get_plugin_version(plugin.id, version.id) == version
    assert list(hook.list_plugin_versions(plugin.id)) == [version]
    assert hook.get_plugin_of_version(version.id).id == plugin.id
    found = {one.technical_name: one for one in hook.list_plugin_version_properties(plugin.id, version.id)}
    assert set(found) == {"provider", "name", "limit", "callback"}
    assert (found["limit"].value, found["limit"].origin) == ({"value": 10}, "PLUGIN")
    assert not found["provider"].writable
    # A draft is nobody's current version until a person releases it.
    assert hook.get_plugin(plugin.id).current_version_id is None
    batches.release(version.id)
    assert hook.get_plugin(plugin.id).current_version_id == version.id


def test_lists_are_followed_over_pages(hook: MediarithmicsHook, emulator: Emulator) -> None:
    emulator.settings(max_page_size=2)
    names = [f"batch-{n}" for n in range(5)]
    for name in names:
        hook.create_plugin(group_id=GROUP, artifact_id=name)
    assert [one.artifact_id for one in hook.list_plugins()] == names


def test_instances(hook: MediarithmicsHook) -> None:
    instance_id = declare(hook, cron="0 3 * * *", cron_status="ACTIVE")
    instance = hook.get_batch_instance(instance_id)
    assert (instance.name, instance.version_value, instance.archived) == ("nightly", "1.0.0", False)
    assert (instance.cron, instance.cron_status) == ("0 3 * * *", "ACTIVE")
    assert [instance.size(name) for name in LOW] == ["LOW"] * 3
    assert list(hook.list_batch_instances()) == [instance]
    assert list(hook.list_batch_instances(group_id=GROUP, artifact_id="nightly", cron_status="ACTIVE"))
    assert list(hook.list_batch_instances(is_periodic=False)) == []
    changed = hook.update_batch_instance(instance_id, {"cron_status": "PAUSED"})
    # The whole object went back: nothing that the change did not name is lost.
    assert (changed.cron, changed.cron_status, changed.name) == ("0 3 * * *", "PAUSED", "nightly")
    hook.delete_batch_instance(instance_id)
    with pytest.raises(NotFound, match=f"instance {instance_id}"):
        hook.get_batch_instance(instance_id)


def test_the_console_spelling_of_sizes(hook: MediarithmicsHook) -> None:
    plugin = hook.create_plugin(group_id=GROUP, artifact_id="nightly")
    version = hook.create_plugin_version(plugin.id, "1.0.0", [one.body() for one in PROPERTIES])
    body = {"group_id": GROUP, "artifact_id": "nightly", "version_id": version.id}
    sizes = size_body({**LOW, "ram_size": "EXTRA_LARGE"}, "execution_container")
    instance = hook.create_batch_instance({**body, **sizes})
    assert instance.execution_container_ram_size == "XL"
    assert instance.ram_size is None
    assert instance.size("ram_size") == "EXTRA_LARGE"


def test_properties_of_an_instance_are_copies(hook: MediarithmicsHook) -> None:
    instance_id = declare(hook)
    plugin = next(iter(hook.list_plugins()))
    version = next(iter(hook.list_plugin_versions(plugin.id)))
    found = hook.list_batch_instance_properties(instance_id)
    assert [one.technical_name for one in found] == ["limit"]
    changed = hook.update_batch_instance_property(
        instance_id, "limit", properties.int_property("limit", 25).body()
    )
    assert changed.value == {"value": 25}
    callback = properties.url_property("callback", "https://example.org/b", origin="INSTANCE")
    hook.update_batch_instance_property(instance_id, "callback", callback.body())
    found = hook.list_batch_instance_properties(instance_id)
    assert {one.technical_name: one.value for one in found} == {
        "limit": {"value": 25},
        "callback": {"url": "https://example.org/b"},
    }
    on_version = hook.list_plugin_version_properties(plugin.id, version.id)
    assert next(one for one in on_version if one.technical_name == "limit").value == {"value": 10}
    with pytest.raises(NotFound, match="speed"):
        hook.update_batch_instance_property(instance_id, "speed", properties.int_property("speed", 1).body())
    with pytest.raises(Refused, match="limit"):
        hook.update_batch_instance_property(
            instance_id, "limit", properties.string_property("limit", "x").body()
        )


def test_executions(hook: MediarithmicsHook, emulator: Emulator) -> None:
    instance_id = declare(hook)
    emulator.settings(run_seconds=60)
    at = now(emulator) + 3_600_000
    made = hook.create_batch_execution(instance_id, at)
    assert (made.status, made.organisation_id) == ("PENDING", emulator.organisation_id)
    assert made.parameters.execution_type == "MANUAL"
    assert made.parameters.expected_start_date == at
    other = hook.create_batch_execution(instance_id, now(emulator), execution_type="CRON")
    assert [one.id for one in hook.list_batch_executions(instance_id)] == [other.id, made.id]
    assert {one.id for one in hook.list_organisation_batch_executions()} == {other.id, made.id}
    moved = hook.update_batch_execution(
        instance_id, made.id, {"parameters": {"execution_type": "MANUAL", "expected_start_date": at + 1000}}
    )
    assert moved.parameters.expected_start_date == at + 1000
    assert hook.get_batch_execution(instance_id, other.id).status == "RUNNING"
    hook.delete_batch_execution(instance_id, made.id)
    with pytest.raises(NotFound, match=made.id):
        hook.get_batch_execution(instance_id, made.id)
    emulator.clock.advance(61)
    over = hook.get_batch_execution(instance_id, other.id)
    assert (over.status, over.duration) == ("SUCCEEDED", 60_000)


@pytest.mark.parametrize("ways", [("put",), ("action",), ("delete",), ("put", "action", "delete")])
def test_cancel_in_every_way(hook: MediarithmicsHook, emulator: Emulator, ways: tuple[str, ...]) -> None:
    instance_id = declare(hook)
    made = hook.create_batch_execution(instance_id, now(emulator) + 60_000)
    assert hook.cancel_batch_execution(instance_id, made.id, ways).status == "CANCELED"
    listed = {one.id: one.status for one in hook.list_batch_executions(instance_id)}
    assert listed == ({} if ways == ("delete",) else {made.id: "CANCELED"})


def test_a_refused_way_is_followed_by_the_next(hook: MediarithmicsHook, emulator: Emulator) -> None:
    instance_id = declare(hook)
    made = hook.create_batch_execution(instance_id, now(emulator) + 60_000)
    emulator.fault("refuse_cancel", method="PUT", path=r"/executions/\d+$", status=400)
    emulator.fault("refuse_cancel", status=200)
    emulator.clear_requests()
    assert hook.cancel_batch_execution(instance_id, made.id).status == "CANCELED"
    acts = [one["method"] for one in emulator.requests() if one["method"] != "GET"]
    assert acts == ["PUT", "POST", "DELETE"]


def test_a_cancel_that_is_refused_in_every_way_returns_what_still_stands(
    hook: MediarithmicsHook, emulator: Emulator
) -> None:
    instance_id = declare(hook)
    made = hook.create_batch_execution(instance_id, now(emulator) + 60_000)
    for method in ("PUT", "POST", "DELETE"):
        emulator.fault("refuse_cancel", method=method, path="/executions/", status=400)
    assert hook.cancel_batch_execution(instance_id, made.id).status == "PENDING"


def test_only_what_is_pending_is_cancelled(hook: MediarithmicsHook, emulator: Emulator) -> None:
    instance_id = declare(hook)
    emulator.settings(run_seconds=60)
    made = hook.create_batch_execution(instance_id, now(emulator))
    emulator.clear_requests()
    assert hook.cancel_batch_execution(instance_id, made.id).status == "RUNNING"
    assert {one["method"] for one in emulator.requests()} == {"GET"}


def test_a_creation_is_never_repeated_blindly(hook: MediarithmicsHook, emulator: Emulator) -> None:
    instance_id = declare(hook)
    emulator.fault("lost_answer", path="/executions$", times=1)
    with pytest.raises(FateUnknown, match="unknown whether"):
        hook.create_batch_execution(instance_id, now(emulator))
    assert len(list(hook.list_batch_executions(instance_id))) == 1


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"cron": "0 3 * * *"}, "go together"),
        ({"cron": "0 3 *", "cron_status": "ACTIVE"}, "five fields"),
        ({"ram_size": "HUGE"}, "ram_size"),
        ({"version_id": "9.9.9"}, "version"),
    ],
)
def test_the_platform_refuses_a_bad_instance(
    hook: MediarithmicsHook, body: dict[str, str], said: str
) -> None:
    with pytest.raises(Refused, match=said):
        declare_on(hook, body)


def declare_on(hook: MediarithmicsHook, fields: dict[str, str]) -> None:
    plugin = hook.create_plugin(group_id=GROUP, artifact_id="nightly")
    hook.create_plugin_version(plugin.id, "1.0.0", [one.body() for one in PROPERTIES])
    body = {"group_id": GROUP, "artifact_id": "nightly", "version_id": "1.0.0"}
    hook.create_batch_instance(body | fields)


def test_the_organisation_must_be_known(bulk_emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = bulk_emulator.connection_json(organisation_id=None)
    monkeypatch.setenv("AIRFLOW_CONN_MEDIARITHMICS_DEFAULT", connection)
    hook = MediarithmicsHook()
    with pytest.raises(ConnectionFieldError, match="organisation_id"):
        list(hook.list_batch_instances())
    with pytest.raises(PlatformError, match="403"):
        list(hook.list_batch_instances("901"))
    assert list(hook.list_batch_instances("900")) == []


def test_links(hook: MediarithmicsHook) -> None:
    assert hook.batch_console_url("8801") == (
        "https://computing.example/#/o/900/jobs/integration_batch_instances/8801"
    )


async def test_executions_are_listed_back_to_since_and_no_further(
    hook: MediarithmicsHook, emulator: Emulator
) -> None:
    instance_id = declare(hook)
    emulator.clock.freeze()
    emulator.settings(max_page_size=10)
    ids = []
    for _ in range(45):
        ids.append(hook.create_batch_execution(instance_id, now(emulator)).id)
        emulator.clock.advance(100)
    emulator.clear_requests()
    since = now(emulator) / 1000 - 250
    found = IntegrationBatchExecutions(hook, instance_id, since).snapshots()
    assert [one.id for one in found] == ids[:24:-1]
    assert len(emulator.requests()) == 2
    asynchronous = MediarithmicsHook()
    everything = await IntegrationBatchExecutions(asynchronous, instance_id).asnapshots()
    await asynchronous.aclose()
    assert [one.id for one in everything] == ids[::-1]


MINUTES = st.integers(0, 200)


@given(
    starts=st.lists(MINUTES, min_size=1, max_size=80),
    since=MINUTES,
    size=st.integers(1, 30),
    newest_first=st.booleans(),
)
def test_no_run_since_is_left_out(starts: list[int], since: int, size: int, newest_first: bool) -> None:
    """Whatever the pages: of a list in either order nothing is missed that was to start since."""
    made = [
        {
            "id": str(number),
            "creation_date": start * 60_000,
            "parameters": {"execution_type": "CRON", "expected_start_date": start * 60_000 + 30_000},
        }
        for number, start in enumerate(sorted(starts))
    ]
    rows = made[::-1] if newest_first else made
    steps = IntegrationBatchExecutions(None, "1", since * 60.0).listing()  # type: ignore[arg-type]
    call = next(steps)
    found = None
    while found is None:
        first = call.query["first_result"]
        page = {"data": rows[first : first + size], "total": len(rows), "max_results": size}
        try:
            call = steps.send(call.parse(Reply(200, {}, json.dumps(page).encode())))
        except StopIteration as end:
            found = end.value
    wanted = {one["id"] for one in made if one["creation_date"] >= since * 60_000}
    assert wanted <= {one.id for one in found}


async def test_pending_executions_are_cancelled_and_proved(
    hook: MediarithmicsHook, emulator: Emulator
) -> None:
    instance_id = declare(hook)
    emulator.settings(run_seconds=60)
    running = hook.create_batch_execution(instance_id, now(emulator)).id
    later = [hook.create_batch_execution(instance_id, now(emulator) + 60_000).id for _ in range(3)]
    executions = IntegrationBatchExecutions(hook, instance_id)
    left = executions.cancel_pending([running, *later[:2]], 10)
    assert [one.id for one in left] == [running]
    asynchronous = MediarithmicsHook()
    left = await IntegrationBatchExecutions(asynchronous, instance_id).acancel_pending(
        [running, later[2]], 10
    )
    await asynchronous.aclose()
    assert [(one.id, one.remote_status) for one in left] == [(running, RemoteStatus.GOING)]
    statuses = {one.id: run_snapshot(one).remote_status for one in hook.list_batch_executions(instance_id)}
    assert statuses == {running: RemoteStatus.GOING} | dict.fromkeys(later, RemoteStatus.CANCELED)
