"""``airflow bulk batches``: what each platform's API can do."""

import json

import pytest
from file_server import FileServer

from airflow_bulk.emulator.centrapay_handle import ACCOUNT, CentrapayEmulator
from airflow_bulk.emulator.extract_load_handle import ExtractLoadEmulator
from airflow_bulk.emulator.integration_batch_handle import IntegrationBatchEmulator
from airflow_bulk.hooks.centrapay import CentrapayHook
from airflow_bulk.hooks.extract_load import ExtractLoadHook
from airflow_bulk.hooks.mediarithmics import MediarithmicsHook

INTEGRATION = ("--platform", "integration")
CENTRAPAY = ("--platform", "centrapay")
EXTRACT_LOAD = ("--platform", "extract-load")
DEFINITION = {
    "since": "2013-01-01",
    "jobs": [{"type": "extract", "object": "Vendor"}, {"type": "load", "object": "vendors"}],
}


# Integration batches.


@pytest.fixture
def batches(emulator):
    return IntegrationBatchEmulator(emulator)


@pytest.fixture
def instance(batches):
    return batches.add("nightly", cron="0 3 * * *", cron_status="ACTIVE")


@pytest.fixture
def run(emulator, batches, instance):
    now = emulator.clock.now()
    return MediarithmicsHook().create_batch_execution(instance, now).id


def test_instances_are_listed_and_shown_with_their_runs(bulk, instance, run):
    listed = bulk("batches", "list", *INTEGRATION)
    assert listed.code == 0
    assert [line.split()[:2] for line in listed.out.splitlines()[1:-1]] == [[instance, "nightly"]]
    document = bulk("batches", "list", *INTEGRATION, "--json").document
    assert [(one["instance_id"], one["cron"]) for one in document["batches"]] == [(instance, "0 3 * * *")]
    shown = bulk("batches", "get", instance, *INTEGRATION)
    assert shown.out.splitlines()[0].split() == ["instance_id", instance]
    assert run in shown.out
    document = bulk("batches", "get", instance, *INTEGRATION, "--json").document
    assert run in [one["execution_id"] for one in document["runs"]]


def test_the_newest_run_that_is_to_start_by_now_is_watched(bulk, batches, instance, run):
    batches.change_execution(run, tasks=10, erroneous=0)
    said = bulk("batches", "watch", instance, *INTEGRATION, "--json")
    assert said.code == 0, said
    assert json.loads(said.out.splitlines()[-1])["execution_id"] == run


@pytest.mark.parametrize(("limit", "code"), [("0", 1), ("1", 0)])
def test_failed_tasks_of_a_run_are_judged(bulk, batches, instance, run, limit, code):
    batches.change_execution(run, tasks=10, erroneous=1)
    said = bulk("batches", "watch", instance, "--execution-id", run, *INTEGRATION, "--max-failures", limit)
    assert said.code == code, said
    assert (f"Execution {run} of batch instance {instance}: 1 of 10 tasks failed" in said.err) is bool(code)


def test_a_failed_run_ends_with_1(bulk, batches, instance, run):
    batches.change_execution(run, fate="failed")
    assert bulk("batches", "watch", instance, "--execution-id", run, *INTEGRATION).code == 1


def test_an_instance_without_a_run_says_so(bulk, instance):
    said = bulk("batches", "watch", instance, *INTEGRATION)
    assert (said.code, "has no run that is to start by now" in said.sentence) == (1, True)


# Centrapay.


@pytest.fixture
def centrapay(bulk_emulator, monkeypatch):
    made = CentrapayEmulator(bulk_emulator)
    monkeypatch.setenv("AIRFLOW_CONN_CENTRAPAY_DEFAULT", made.connection_json(account_id=ACCOUNT))
    made.settings(step_seconds=0)
    return made


@pytest.fixture
def loaded(centrapay):
    """A batch of one record that is refused, in words that quote it."""
    centrapay.settings(refused={"Grace-Hopper": "'Grace-Hopper' is not wanted"})
    with FileServer() as files:
        url = files.put("/bad.ndjson", '{"externalId":"Grace-Hopper"}\n')
        yield CentrapayHook().create_batch(batch_type="farmlands-external-asset", url=url).id


def test_centrapay_has_no_list(bulk, centrapay):
    said = bulk("batches", "list", *CENTRAPAY, "--json")
    assert said.code == 1
    assert said.sentence.startswith("Centrapay's API has no call that lists batches")
    assert said.document == {"ok": False, "error": said.sentence}


def test_a_centrapay_batch_is_shown_and_watched(bulk, loaded):
    shown = bulk("batches", "get", loaded, *CENTRAPAY, "--json")
    assert (shown.code, shown.document["batch_id"]) == (0, loaded)
    said = bulk("batches", "watch", loaded, *CENTRAPAY, "--json")
    assert said.code == 1
    assert json.loads(said.out.splitlines()[-1])["ok"] is False
    assert "Grace" not in shown.out + shown.err + said.out + said.err
    assert bulk("batches", "watch", loaded, *CENTRAPAY, "--max-failures", "100%").code == 0


# Extract/load.


@pytest.fixture
def server(bulk_emulator, monkeypatch):
    made = ExtractLoadEmulator(bulk_emulator)
    monkeypatch.setenv("AIRFLOW_CONN_EXTRACT_LOAD_DEFAULT", made.connection_json("server"))
    return made


def test_batches_of_the_server_are_listed_shown_and_watched(bulk, server):
    made = ExtractLoadHook().create_batch(DEFINITION).id
    assert [
        one["batch_id"] for one in bulk("batches", "list", *EXTRACT_LOAD, "--json").document["batches"]
    ] == [made]
    assert made in bulk("batches", "list", *EXTRACT_LOAD).out
    assert bulk("batches", "watch", made, *EXTRACT_LOAD, "--poll-interval", "0.2").code == 0
    assert bulk("batches", "get", made, *EXTRACT_LOAD, "--json").document["finished_at"] is not None


# What cannot be.


@pytest.mark.parametrize("platform", [INTEGRATION, EXTRACT_LOAD, CENTRAPAY])
@pytest.mark.parametrize("command", ["get", "watch"])
def test_what_is_not_there_is_one_sentence(bulk, batches, centrapay, server, platform, command):
    said = bulk("batches", command, "0" * 24, *platform, "--json")
    assert said.code == 1
    assert said.document["error"] == said.sentence
    assert any(answer in said.sentence for answer in ("404", "403"))


def test_no_connection_is_one_sentence(bulk):
    for platform, name in (
        (EXTRACT_LOAD, "extract_load_default"),
        (("--platform", "integration"), "mediarithmics_default"),
    ):
        said = bulk("batches", "list", *platform)
        assert said.code == 1
        assert said.sentence.startswith(f"Connection '{name}' cannot be read: ")


def test_options_of_one_platform_are_refused_for_another(bulk, server):
    assert bulk("batches", "list", *EXTRACT_LOAD, "--organisation-id", "9").code == 2
    assert bulk("batches", "watch", "0" * 24, *EXTRACT_LOAD, "--execution-id", "9").code == 2
