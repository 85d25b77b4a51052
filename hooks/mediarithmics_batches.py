"""The mediarithmics hook's calls to plugins, versions, integration batch instances and their executions.

Facts: mediarithmics.md sections 7 to 10. :class:`~airflow_bulk.hooks.mediarithmics.MediarithmicsHook` has them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from airflow_bulk.hooks.executions import RemoteExecutions
from airflow_bulk.hooks.platform_hook import ConnectionFieldError, PlatformHook
from airflow_bulk.platforms.call import Call, CallSequence, run_calls
from airflow_bulk.platforms.errors import Forbidden, NotFound, PlatformError, Unauthorized
from airflow_bulk.platforms.mediarithmics import document_imports as api
from airflow_bulk.platforms.mediarithmics import integration_batch_calls as calls
from airflow_bulk.platforms.mediarithmics import integration_batches as batches
from airflow_bulk.platforms.status import RemoteStatus

T = TypeVar("T")

#: Executions that must have come newest first before a list is believed to be in that order.
EVIDENCE = 20


class IntegrationBatchHook(PlatformHook):
    """Plugins, versions, instances, executions. Methods that create are never repeated when their fate is unknown."""

    def organisation(self, organisation_id: str | int | None = None) -> str:
        """Return the organisation to use: the one given, else the connection's.

        :raises ConnectionFieldError: neither is set.
        """
        value = str(organisation_id).strip() if organisation_id is not None else self.text("organisation_id")
        if not value:
            raise ConnectionFieldError(
                "No organisation: give organisation_id, or set the field organisation_id of connection "
                f"{self.conn_id!r}."
            )
        return value

    # Plugins and versions (section 7).

    def create_plugin(
        self, *, group_id: str, artifact_id: str, organisation_id: str | int | None = None
    ) -> batches.Plugin:
        """Create a plugin of type INTEGRATION_BATCH.

        :raises FateUnknown: the answer was lost; list before creating again.
        """
        body = {
            "organisation_id": self.organisation(organisation_id),
            "plugin_type": batches.PLUGIN_TYPE,
            "group_id": group_id,
            "artifact_id": artifact_id,
        }
        return self.send(calls.create_plugin(body))

    def list_plugins(self, **filters: Any) -> Iterator[batches.Plugin]:
        """List plugins, page after page as they are consumed.

        :param filters: ``plugin_type``, ``group_id``, ``artifact_id``, ``organisation_id``.
        """
        return self._follow(
            lambda first, size: calls.list_plugins(first_result=first, max_results=size, **filters)
        )

    def get_plugin(self, plugin_id: str) -> batches.Plugin:
        """Get one plugin."""
        return self.send(calls.get_plugin(plugin_id))

    def get_plugin_of_version(self, version_row_id: str) -> batches.Plugin:
        """Get the plugin that owns a version, by the version's row id."""
        return self.send(calls.get_plugin_of_version(version_row_id))

    def create_plugin_version(
        self, plugin_id: str, version_id: str, plugin_properties: Sequence[Mapping[str, Any]]
    ) -> batches.PluginVersion:
        """Create a version: a DRAFT, to which no code is attached and which customers do not see (section 7.2).

        :param version_id: the human version, such as ``1.0.0``.
        :param plugin_properties: whole property objects; ``provider`` and ``name`` must be among them.
        :raises FateUnknown: the answer was lost; list before creating again.
        """
        body = {"version_id": version_id, "plugin_properties": [dict(one) for one in plugin_properties]}
        return self.send(calls.create_version(plugin_id, body))

    def list_plugin_versions(self, plugin_id: str) -> Iterator[batches.PluginVersion]:
        """List a plugin's versions."""
        return self._follow(
            lambda first, size: calls.list_versions(plugin_id, first_result=first, max_results=size)
        )

    def get_plugin_version(self, plugin_id: str, version_row_id: str) -> batches.PluginVersion:
        """Get one version by its row id."""
        return self.send(calls.get_version(plugin_id, version_row_id))

    def list_plugin_version_properties(self, plugin_id: str, version_row_id: str) -> list[batches.Property]:
        """List the properties of a version."""
        return list(
            self._follow(
                lambda first, size: calls.list_version_properties(
                    plugin_id, version_row_id, first_result=first, max_results=size
                )
            )
        )

    # Instances (section 8).

    def create_batch_instance(
        self, body: Mapping[str, Any], organisation_id: str | int | None = None
    ) -> batches.IntegrationBatchInstance:
        """Create an instance.

        :param body: fields of section 8; ``organisation_id`` is added.
        :raises FateUnknown: the answer was lost; list by name before creating again.
        """
        organisation = self.organisation(organisation_id)
        return self.send(calls.create_instance({"organisation_id": organisation, **body}))

    def list_batch_instances(
        self, organisation_id: str | int | None = None, **filters: Any
    ) -> Iterator[batches.IntegrationBatchInstance]:
        """List an organisation's instances, page after page as they are consumed.

        :param filters: ``group_id``, ``artifact_id``, ``cron_status``, ``is_periodic``.
        """
        organisation = self.organisation(organisation_id)
        return self._follow(
            lambda first, size: calls.list_instances(
                organisation, first_result=first, max_results=size, **filters
            )
        )

    def get_batch_instance(self, instance_id: str) -> batches.IntegrationBatchInstance:
        """Get one instance."""
        return self.send(calls.get_instance(instance_id))

    def update_batch_instance(
        self, instance_id: str, changes: Mapping[str, Any]
    ) -> batches.IntegrationBatchInstance:
        """Change fields of an instance: read, merge, put the whole object back (section 8 [seen])."""
        current = self.send(calls.get_raw_instance(instance_id))
        return self.send(calls.update_instance(instance_id, {**current, **changes}))

    def delete_batch_instance(self, instance_id: str) -> None:
        """Delete an instance."""
        self.send(calls.delete_instance(instance_id))

    def list_batch_instance_properties(self, instance_id: str) -> list[batches.Property]:
        """List the properties of an instance."""
        return list(
            self._follow(
                lambda first, size: calls.list_instance_properties(
                    instance_id, first_result=first, max_results=size
                )
            )
        )

    def update_batch_instance_property(
        self, instance_id: str, technical_name: str, body: Mapping[str, Any]
    ) -> batches.Property:
        """Put a property of an instance.

        :param body: the whole property object (section 7.3).
        """
        return self.send(calls.update_instance_property(instance_id, technical_name, body))

    # Executions (section 9).

    def create_batch_execution(
        self,
        instance_id: str,
        expected_start: int,
        *,
        execution_type: str = batches.MANUAL,
        organisation_id: str | int | None = None,
        tries: int | None = None,
    ) -> batches.IntegrationBatchExecution:
        """Create an execution.

        :param expected_start: ms since 1970; now or later.
        :param organisation_id: None takes the connection's, and leaves the field out where there is none.
        :param tries: attempts in all while nothing was carried out (429, no connection); None takes the usual.
        :raises FateUnknown: the answer was lost; list before creating again.
        """
        owner = str(organisation_id or "") or self.text("organisation_id") or None
        call = calls.create_execution(
            instance_id, batches.execution_body(owner, execution_type, expected_start)
        )
        return self.send(call) if tries is None else self.send(call, tries=tries)

    def list_batch_executions(self, instance_id: str) -> Iterator[batches.IntegrationBatchExecution]:
        """List an instance's executions, page after page as they are consumed."""
        return self._follow(
            lambda first, size: calls.list_batch_executions(instance_id, first_result=first, max_results=size)
        )

    def list_organisation_batch_executions(
        self, organisation_id: str | int | None = None
    ) -> Iterator[batches.IntegrationBatchExecution]:
        """List the executions of all instances of an organisation."""
        organisation = self.organisation(organisation_id)
        return self._follow(
            lambda first, size: calls.list_organisation_executions(
                organisation, first_result=first, max_results=size
            )
        )

    def get_batch_execution(self, instance_id: str, execution_id: str) -> batches.IntegrationBatchExecution:
        """Get one execution."""
        return self.send(calls.get_batch_execution(instance_id, execution_id))

    def update_batch_execution(
        self, instance_id: str, execution_id: str, changes: Mapping[str, Any]
    ) -> batches.IntegrationBatchExecution:
        """Change fields of an execution: read, merge, put the whole object back."""
        current = self.send(calls.get_raw_batch_execution(instance_id, execution_id))
        return self.send(calls.update_batch_execution(instance_id, execution_id, {**current, **changes}))

    def delete_batch_execution(self, instance_id: str, execution_id: str) -> None:
        """Delete an execution."""
        self.send(calls.delete_batch_execution(instance_id, execution_id))

    def cancel_batch_execution(
        self, instance_id: str, execution_id: str, ways: Sequence[str] = batches.CANCEL_WAYS
    ) -> batches.IntegrationBatchExecution:
        """Cancel an execution and return it as re-read: only its status tells whether it worked.

        Nothing documents how (conflict 1), so the ways are tried in order until one has cancelled, and only
        while the execution is PENDING. A refusal is not an error here; anything else is. One that a DELETE took
        away is returned as CANCELED.

        :param ways: some of :data:`~airflow_bulk.platforms.mediarithmics.integration_batches.CANCEL_WAYS`, in order.
        """
        return run_calls(cancel_calls(instance_id, execution_id, ways), self.send)

    def batch_console_url(self, instance_id: str, organisation_id: str | None = None) -> str | None:
        """Link to an instance in the computing console; None without its base URL or organisation (section 10)."""
        return batches.batch_console_url(
            self.text("computing_console_base_url"),
            organisation_id or self.text("organisation_id"),
            instance_id,
        )

    def _follow(self, page: Callable[[int, int], Call[api.Page[T]]]) -> Iterator[T]:
        """Yield a list's elements, asking for each page when it is needed (section 1.4)."""
        offset: int | None = 0
        while offset is not None:
            answer = self.send(page(offset, api.PAGE_SIZE))
            yield from answer.data
            offset = answer.next_offset(offset, api.PAGE_SIZE)


def cancel_calls(
    instance_id: str, execution_id: str, ways: Sequence[str]
) -> CallSequence[batches.IntegrationBatchExecution]:
    """The calls of a cancel, whoever carries them out; see :meth:`IntegrationBatchHook.cancel_batch_execution`."""
    current = yield calls.get_raw_batch_execution(instance_id, execution_id)
    found = msgspec.convert(current, batches.IntegrationBatchExecution)
    for way in ways:
        if batches.run_snapshot(found).remote_status is not RemoteStatus.PENDING:
            break
        try:
            if way == "put":
                body = {**current, "status": "CANCELED"}
                yield calls.update_batch_execution(instance_id, execution_id, body)
            elif way == "action":
                yield calls.act_on_batch_execution(instance_id, execution_id)
            else:
                yield calls.delete_batch_execution(instance_id, execution_id)
        except (Unauthorized, Forbidden):
            raise
        except PlatformError:
            pass  # a refusal: the status decides, and the next way may do
        try:
            found = yield calls.get_batch_execution(instance_id, execution_id)
        except NotFound:
            if way != "delete":
                raise
            return batches.IntegrationBatchExecution(id=execution_id, status="CANCELED")
    return found


class IntegrationBatchExecutions(RemoteExecutions[batches.IntegrationBatchSnapshot]):
    """The executions of one integration batch instance.

    An instance lives for years and its list grows with every run. No filter is documented, so reading stops at the
    first page that ends before ``since``, provided that what was read shows the newest first, which nobody promises.

    :param hook: the platform.
    :param instance_id: the instance.
    :param since: seconds since 1970: what was created, and was to start, before may be left out.
    :param cancel_ways: how to cancel (mediarithmics.md conflict 1).
    """

    hook: IntegrationBatchHook

    def __init__(
        self,
        hook: IntegrationBatchHook,
        instance_id: str,
        since: float = 0.0,
        cancel_ways: Sequence[str] = batches.CANCEL_WAYS,
    ) -> None:
        super().__init__(hook)
        self.instance_id = instance_id
        self.since = since
        self.cancel_ways = tuple(cancel_ways)

    def listing(self) -> CallSequence[list[batches.IntegrationBatchSnapshot]]:
        """The calls of a list back to ``since``."""
        found: list[batches.IntegrationBatchSnapshot] = []
        offset: int | None = 0
        while offset is not None:
            page = yield calls.list_batch_executions(self.instance_id, first_result=offset)
            found += [batches.run_snapshot(one) for one in page.data]
            offset = None if self._far_enough(found) else page.next_offset(offset, api.PAGE_SIZE)
        return found

    def _far_enough(self, found: Sequence[batches.IntegrationBatchSnapshot]) -> bool:
        created = [one.created for one in found]
        if len(found) < EVIDENCE or any(one is None for one in created):
            return False
        known = [one for one in created if one is not None]
        if known != sorted(known, reverse=True) or known[-1] >= self.since:
            return False
        # A cron run may be created long before it is to start; each is created after the one before it.
        starts = [one.expected_start for one in found if one.execution_type == batches.CRON]
        return not starts or (starts[-1] is not None and starts[-1] < self.since)

    def canceling(self, execution_id: str) -> CallSequence[Any]:
        """The calls that cancel, in the order of the ways."""
        return cancel_calls(self.instance_id, execution_id, self.cancel_ways)

    def get(self, execution_id: str) -> batches.IntegrationBatchSnapshot:
        """One execution."""
        return batches.run_snapshot(self.hook.get_batch_execution(self.instance_id, execution_id))

    def cancel(self, execution_id: str) -> batches.IntegrationBatchSnapshot:
        """Cancel one and return it as re-read."""
        found = self.hook.cancel_batch_execution(self.instance_id, execution_id, self.cancel_ways)
        return batches.run_snapshot(found)
