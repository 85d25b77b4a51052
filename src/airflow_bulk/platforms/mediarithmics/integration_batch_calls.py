"""Integration batches of mediarithmics: every call to plugins, versions, instances and executions.

Facts: mediarithmics.md sections 7 to 9. The records are in ``integration_batches``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote

from airflow_bulk.platforms.answers import json_reader
from airflow_bulk.platforms.call import Call, Reply
from airflow_bulk.platforms.mediarithmics.document_imports import (
    CANCEL_BODY,
    PAGE_SIZE,
    Envelope,
    Page,
    problem,
)
from airflow_bulk.platforms.mediarithmics.integration_batches import (
    IntegrationBatchExecution,
    IntegrationBatchInstance,
    Plugin,
    PluginVersion,
    Property,
)

R = TypeVar("R")


def _one(kind: type[R]) -> Callable[[Reply], R]:
    envelope: Any = Envelope
    read = json_reader(envelope[kind])
    return lambda reply: read(reply.body).data


def _page(kind: Any) -> Callable[[Reply], Page[Any]]:
    read = json_reader(Page[kind])
    return lambda reply: read(reply.body)


_plugin = _one(Plugin)
_version = _one(PluginVersion)
_property = _one(Property)
_instance = _one(IntegrationBatchInstance)
_execution = _one(IntegrationBatchExecution)
_raw = _one(dict[str, Any])
_plugins = _page(Plugin)
_versions = _page(PluginVersion)
_properties = _page(Property)
_instances = _page(IntegrationBatchInstance)
_executions = _page(IntegrationBatchExecution)


def _segment(value: str) -> str:
    return quote(str(value), safe="")


# Plugins and their versions (section 7).


def create_plugin(body: Mapping[str, Any]) -> Call[Plugin]:
    """Create a plugin. Not repeatable: the API has no idempotency key (section 1.6 [assumed])."""
    return Call(
        "POST", "/v1/plugins", "create the plugin", _plugin, problem, json=dict(body), repeatable=False
    )


def list_plugins(
    *,
    plugin_type: str | None = None,
    group_id: str | None = None,
    artifact_id: str | None = None,
    organisation_id: str | None = None,
    first_result: int = 0,
    max_results: int = PAGE_SIZE,
) -> Call[Page[Plugin]]:
    """List plugins (filters of section 7.1 [seen])."""
    query = {
        "plugin_type": plugin_type,
        "group_id": group_id,
        "artifact_id": artifact_id,
        "organisation_id": organisation_id,
        "first_result": first_result,
        "max_results": max_results,
    }
    return Call("GET", "/v1/plugins", "list the plugins", _plugins, problem, query=query)


def get_plugin(plugin_id: str) -> Call[Plugin]:
    """Get one plugin."""
    return Call("GET", f"/v1/plugins/{_segment(plugin_id)}", f"read plugin {plugin_id}", _plugin, problem)


def get_plugin_of_version(version_row_id: str) -> Call[Plugin]:
    """Get the plugin that owns a version, by the version's row id."""
    path = f"/v1/plugins/version/{_segment(version_row_id)}"
    return Call("GET", path, f"read the plugin of version {version_row_id}", _plugin, problem)


def versions_path(plugin_id: str) -> str:
    """Return the path of a plugin's versions."""
    return f"/v1/plugins/{_segment(plugin_id)}/versions"


def create_version(plugin_id: str, body: Mapping[str, Any]) -> Call[PluginVersion]:
    """Create a version; it is a DRAFT (section 7.2). Not repeatable."""
    return Call(
        "POST",
        versions_path(plugin_id),
        f"create a version of plugin {plugin_id}",
        _version,
        problem,
        json=dict(body),
        repeatable=False,
    )


def list_versions(
    plugin_id: str, *, first_result: int = 0, max_results: int = PAGE_SIZE
) -> Call[Page[PluginVersion]]:
    """List a plugin's versions."""
    return Call(
        "GET",
        versions_path(plugin_id),
        f"list the versions of plugin {plugin_id}",
        _versions,
        problem,
        query={"first_result": first_result, "max_results": max_results},
    )


def get_version(plugin_id: str, version_row_id: str) -> Call[PluginVersion]:
    """Get one version by its row id."""
    path = f"{versions_path(plugin_id)}/{_segment(version_row_id)}"
    return Call("GET", path, f"read version {version_row_id} of plugin {plugin_id}", _version, problem)


def list_version_properties(
    plugin_id: str, version_row_id: str, *, first_result: int = 0, max_results: int = PAGE_SIZE
) -> Call[Page[Property]]:
    """List the properties of a version."""
    return Call(
        "GET",
        f"{versions_path(plugin_id)}/{_segment(version_row_id)}/properties",
        f"list the properties of version {version_row_id} of plugin {plugin_id}",
        _properties,
        problem,
        query={"first_result": first_result, "max_results": max_results},
    )


# Instances (section 8).

INSTANCES = "/v1/integration_batch_instances"


def instance_path(instance_id: str) -> str:
    """Return the path of one instance."""
    return f"{INSTANCES}/{_segment(instance_id)}"


def create_instance(body: Mapping[str, Any]) -> Call[IntegrationBatchInstance]:
    """Create an instance. Not repeatable."""
    return Call(
        "POST",
        INSTANCES,
        "create the integration batch instance",
        _instance,
        problem,
        json=dict(body),
        repeatable=False,
    )


def list_instances(
    organisation_id: str,
    *,
    group_id: str | None = None,
    artifact_id: str | None = None,
    cron_status: str | None = None,
    is_periodic: bool | None = None,
    first_result: int = 0,
    max_results: int = PAGE_SIZE,
) -> Call[Page[IntegrationBatchInstance]]:
    """List an organisation's instances (filters of section 8 [seen])."""
    query = {
        "organisation_id": organisation_id,
        "group_id": group_id,
        "artifact_id": artifact_id,
        "cron_status": cron_status,
        "is_periodic": is_periodic,
        "first_result": first_result,
        "max_results": max_results,
    }
    what = f"list the integration batch instances of organisation {organisation_id}"
    return Call("GET", INSTANCES, what, _instances, problem, query=query)


def get_instance(instance_id: str) -> Call[IntegrationBatchInstance]:
    """Get one instance."""
    what = f"read integration batch instance {instance_id}"
    return Call("GET", instance_path(instance_id), what, _instance, problem)


def get_raw_instance(instance_id: str) -> Call[dict[str, Any]]:
    """Get one instance with every field it has: a PUT needs the whole object (section 8 [seen])."""
    what = f"read integration batch instance {instance_id}"
    return Call("GET", instance_path(instance_id), what, _raw, problem)


def update_instance(instance_id: str, body: Mapping[str, Any]) -> Call[IntegrationBatchInstance]:
    """Put a whole instance. Repeatable: a PUT of the same object changes nothing the second time."""
    what = f"update integration batch instance {instance_id}"
    return Call("PUT", instance_path(instance_id), what, _instance, problem, json=dict(body))


def delete_instance(instance_id: str) -> Call[None]:
    """Delete an instance; what happens to its executions is not documented (section 8)."""
    what = f"delete integration batch instance {instance_id}"
    return Call("DELETE", instance_path(instance_id), what, lambda reply: None, problem)


def list_instance_properties(
    instance_id: str, *, first_result: int = 0, max_results: int = PAGE_SIZE
) -> Call[Page[Property]]:
    """List the properties of an instance (section 7.3 [seen])."""
    return Call(
        "GET",
        f"{instance_path(instance_id)}/properties",
        f"list the properties of integration batch instance {instance_id}",
        _properties,
        problem,
        query={"first_result": first_result, "max_results": max_results},
    )


def update_instance_property(
    instance_id: str, technical_name: str, body: Mapping[str, Any]
) -> Call[Property]:
    """Put a whole property of an instance (section 7.3 [seen])."""
    return Call(
        "PUT",
        f"{instance_path(instance_id)}/properties/technical_name={_segment(technical_name)}",
        f"update property {technical_name} of integration batch instance {instance_id}",
        _property,
        problem,
        json=dict(body),
    )


# Executions (section 9).


def batch_executions_path(instance_id: str) -> str:
    """Return the path of an instance's executions."""
    return f"{instance_path(instance_id)}/executions"


def batch_execution_path(instance_id: str, execution_id: str) -> str:
    """Return the path of one execution (section 9 [documented; path assumed])."""
    return f"{batch_executions_path(instance_id)}/{_segment(execution_id)}"


def create_execution(instance_id: str, body: Mapping[str, Any]) -> Call[IntegrationBatchExecution]:
    """Create an execution. Not repeatable: each one is a run of the batch."""
    return Call(
        "POST",
        batch_executions_path(instance_id),
        f"create an execution of integration batch instance {instance_id}",
        _execution,
        problem,
        json=dict(body),
        repeatable=False,
    )


def list_batch_executions(
    instance_id: str, *, first_result: int = 0, max_results: int = PAGE_SIZE
) -> Call[Page[IntegrationBatchExecution]]:
    """List an instance's executions; no order and no filter is documented."""
    return Call(
        "GET",
        batch_executions_path(instance_id),
        f"list the executions of integration batch instance {instance_id}",
        _executions,
        problem,
        query={"first_result": first_result, "max_results": max_results},
    )


def list_organisation_executions(
    organisation_id: str, *, first_result: int = 0, max_results: int = PAGE_SIZE
) -> Call[Page[IntegrationBatchExecution]]:
    """List the executions of all instances of an organisation (the dot is part of the path)."""
    return Call(
        "GET",
        f"{INSTANCES}.executions",
        f"list the batch executions of organisation {organisation_id}",
        _executions,
        problem,
        query={
            "organisation_id": organisation_id,
            "first_result": first_result,
            "max_results": max_results,
        },
    )


def _of(execution_id: str, instance_id: str) -> str:
    return f"execution {execution_id} of integration batch instance {instance_id}"


def get_batch_execution(instance_id: str, execution_id: str) -> Call[IntegrationBatchExecution]:
    """Get one execution."""
    path, what = batch_execution_path(instance_id, execution_id), f"read {_of(execution_id, instance_id)}"
    return Call("GET", path, what, _execution, problem)


def get_raw_batch_execution(instance_id: str, execution_id: str) -> Call[dict[str, Any]]:
    """Get one execution with every field it has."""
    path, what = batch_execution_path(instance_id, execution_id), f"read {_of(execution_id, instance_id)}"
    return Call("GET", path, what, _raw, problem)


def update_batch_execution(
    instance_id: str, execution_id: str, body: Mapping[str, Any]
) -> Call[IntegrationBatchExecution]:
    """Put an execution."""
    path, what = batch_execution_path(instance_id, execution_id), f"update {_of(execution_id, instance_id)}"
    return Call("PUT", path, what, _execution, problem, json=dict(body))


def delete_batch_execution(instance_id: str, execution_id: str) -> Call[None]:
    """Delete an execution."""
    path, what = batch_execution_path(instance_id, execution_id), f"delete {_of(execution_id, instance_id)}"
    return Call("DELETE", path, what, lambda reply: None, problem)


def act_on_batch_execution(instance_id: str, execution_id: str) -> Call[Any]:
    """Cancel by the call that cancels an upload; batches share the job model of imports (section 9 [assumed])."""
    path, what = batch_execution_path(instance_id, execution_id), f"cancel {_of(execution_id, instance_id)}"
    return Call("POST", f"{path}/action", what, lambda reply: None, problem, json=CANCEL_BODY)
