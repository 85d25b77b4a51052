"""Make a plugin, a version and an instance exist as declared: find them, create each exactly once, update the instance.

Plugins and versions are created and never changed: the instances that run on a version would change with it. Where a
version differs, the error names the differences and proposes the next version.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_bulk.arguments import ArgumentError
from airflow_bulk.judging import name_ids
from airflow_bulk.platforms.errors import Refused
from airflow_bulk.platforms.mediarithmics import integration_batches as batches
from airflow_bulk.platforms.mediarithmics.integration_batches import (
    IntegrationBatchInstance,
    Plugin,
    PluginVersion,
    Property,
)
from airflow_bulk.platforms.mediarithmics.plugin_properties import PluginProperty
from airflow_bulk.runs.creation import create_once

if TYPE_CHECKING:
    from airflow_bulk.hooks.mediarithmics import MediarithmicsHook
    from airflow_bulk.runs.integration_batch.arguments import Declaration
    from airflow_bulk.runs.record import Record

log = logging.getLogger(__name__)


class DeclarationRun:
    """Compares one declaration with the platform, and creates or updates what differs.

    :param declared: the declaration.
    :param hook: the hook of the platform.
    :param record: the task's record, which holds what was being created when a try ended.
    :param settle: seconds to wait until the platform lists an object whose creation got no answer.
    """

    def __init__(
        self, declared: Declaration, hook: MediarithmicsHook, record: Record, *, settle: float
    ) -> None:
        self.declared = declared
        self.hook = hook
        self.organisation_id = hook.organisation(declared.organisation_id)
        self._record = record
        self._settle = settle
        self.created: list[str] = []
        self.updated: list[str] = []

    def run(self) -> dict[str, Any]:
        """Ensure all three objects; return their ids, what was created and what was updated."""
        if self._record.end() is not None:
            # What an earlier run created is found by a look-up. The ids in the record may name objects deleted since.
            self._record.next_generation()
        plugin_id = self._plugin()
        version = self._version(plugin_id)
        on_version = {
            one.technical_name: one for one in self.hook.list_plugin_version_properties(plugin_id, version.id)
        }
        self._check_instance_properties(on_version)
        instance_id = self._instance(version)
        self._set_properties(instance_id, on_version)
        result = {
            "plugin_id": plugin_id,
            "version_id": version.id,
            "version": version.version_id,
            "instance_id": instance_id,
            "created": self.created,
            "updated": self.updated,
            "console_url": self.hook.batch_console_url(instance_id, self.organisation_id),
        }
        self._record.write_end(good=True, result=result)
        return result

    def _once(
        self, what: str, find: Callable[[], list[str]], create: Callable[[], str], about: Mapping[str, Any]
    ) -> str:
        """Create an object that does not exist, exactly once over all tries.

        :param about: what the intent holds; never the values of properties, which may be secrets.
        """
        try:
            found, _ = create_once(
                self._record,
                what,
                lambda: dict(about),
                lambda stored: create(),
                lambda stored: find(),
                settle=self._settle,
            )
        except Refused:
            # Another party may have created the object since the look-up.
            others = find()
            if len(others) != 1:
                raise
            return others[0]
        self.created.append(what)
        log.info("Created the %s, %s.", what, found)
        return found

    # The plugin.

    def _plugin(self) -> str:
        found = self._find_plugins()
        if len(found) > 1:
            raise ArgumentError("artifact_id", f"fits {len(found)} plugins: {name_ids(found)}")
        if found:
            return found[0]
        names = {"group_id": self.declared.group_id, "artifact_id": self.declared.artifact_id}
        return self._once("plugin", self._find_plugins, self._create_plugin, names)

    def _find_plugins(self) -> list[str]:
        wanted = {
            "plugin_type": batches.PLUGIN_TYPE,
            "group_id": self.declared.group_id,
            "artifact_id": self.declared.artifact_id,
        }

        def fits(plugin: Plugin) -> bool:
            return all(getattr(plugin, name) == value for name, value in wanted.items())

        listed = self.hook.list_plugins(organisation_id=self.organisation_id, **wanted)
        return [one.id for one in listed if fits(one)]

    def _create_plugin(self) -> str:
        made = self.hook.create_plugin(
            group_id=self.declared.group_id,
            artifact_id=self.declared.artifact_id,
            organisation_id=self.organisation_id,
        )
        return made.id

    # The version.

    def _version(self, plugin_id: str) -> PluginVersion:
        wanted = self.declared.version
        known = list(self.hook.list_plugin_versions(plugin_id))
        found = next((one for one in known if wanted in (one.version_id, one.id)), None)
        if found is None:
            return self._create_version(plugin_id, known)
        if found.archived:
            raise ArgumentError("version_id", f"names version {found.version_id}, which is archived")
        if self.declared.properties is not None:
            self._compare(plugin_id, found, known)
        return found

    def _create_version(self, plugin_id: str, known: Sequence[PluginVersion]) -> PluginVersion:
        wanted, properties = self.declared.version, self.declared.properties
        told = ", ".join(one.version_id for one in known) or "none"
        if not batches.is_human_version(wanted):
            raise ArgumentError("version_id", f"names no version of plugin {plugin_id}; it has {told}")
        if properties is None:
            raise ArgumentError(
                "plugin_properties",
                f"must be given: plugin {plugin_id} has no version {wanted} (it has {told}), so it is to be created",
            )

        def find() -> list[str]:
            return [one.id for one in self.hook.list_plugin_versions(plugin_id) if one.version_id == wanted]

        def create() -> str:
            bodies = [one.body() for one in properties]
            return self.hook.create_plugin_version(plugin_id, wanted, bodies).id

        about = {"plugin_id": plugin_id, "version_id": wanted}
        row_id = self._once("version", find, create, about)
        log.warning(
            "Version %s is a DRAFT without code: upload and release it in the console before it is run.",
            wanted,
        )
        return self.hook.get_plugin_version(plugin_id, row_id)

    def _compare(self, plugin_id: str, found: PluginVersion, known: Sequence[PluginVersion]) -> None:
        """Refuse a version whose properties differ from the declared ones; values are never quoted."""
        there = {
            one.technical_name: one for one in self.hook.list_plugin_version_properties(plugin_id, found.id)
        }
        declared = {one.technical_name: one for one in self.declared.properties or ()}
        told = [f"{name}: not there" for name in declared if name not in there]
        told += [f"{name}: not declared" for name in there if name not in declared]
        for name, one in declared.items():
            if name in there:
                other = there[name]
                told += one.differences(other.property_type, other.origin, other.value)
        if told:
            proposed = batches.next_version([one.version_id for one in known], found.version_id)
            raise ArgumentError(
                "plugin_properties",
                f"differ from those of version {found.version_id}, which cannot be changed ({'; '.join(sorted(told))}). "
                f"Declare them under a new version_id, such as {proposed!r}",
            )

    # The instance.

    def _instance(self, version: PluginVersion) -> str:
        named = self._named()
        live = [one for one in named if not one.archived]
        if len(live) > 1:
            raise ArgumentError(
                "name",
                f"fits {len(live)} instances: {name_ids([one.id for one in live])}. Rename all but one",
            )
        if live:
            self._update(live[0], version)
            return live[0].id
        if named:
            raise ArgumentError(
                "name",
                f"is that of the archived instance {named[0].id}: take it back in the console, or choose another",
            )

        def create() -> str:
            return self.hook.create_batch_instance(self._new(version), self.organisation_id).id

        about = {"name": self.declared.name, "version_id": version.id}
        return self._once("instance", lambda: [one.id for one in self._named()], create, about)

    def _named(self) -> list[IntegrationBatchInstance]:
        listed = self.hook.list_batch_instances(
            self.organisation_id, group_id=self.declared.group_id, artifact_id=self.declared.artifact_id
        )
        return [one for one in listed if one.name == self.declared.name]

    def _new(self, version: PluginVersion) -> dict[str, Any]:
        declared = self.declared
        sizes = {name: declared.sizes.get(name, "LOW") for name in batches.SIZE_NAMES}
        return {
            "group_id": declared.group_id,
            "artifact_id": declared.artifact_id,
            "version_id": version.id,
            "name": declared.name,
            **self._cron(),
            **batches.size_body(sizes, declared.size_fields),
        }

    def _cron(self) -> dict[str, str]:
        declared = self.declared
        if declared.cron is None or declared.cron_status is None:
            return {}
        return {"cron": declared.cron, "cron_status": declared.cron_status}

    def _update(self, found: IntegrationBatchInstance, version: PluginVersion) -> None:
        """Update the declared fields that differ; fields that are not declared stay as they are."""
        changes: dict[str, Any] = {}
        if str(found.version_id) not in (version.id, version.version_id):
            changes["version_id"] = version.id
            if found.version_value is not None:
                changes["version_value"] = version.version_id
        changes |= {name: value for name, value in self._cron().items() if getattr(found, name) != value}
        had = {name: found.size(name) or "LOW" for name in batches.SIZE_NAMES}
        wanted = {**had, **self.declared.sizes}
        if wanted != had:
            # An instance with the console's names of fields keeps them: with both names it could contradict itself.
            console = found.execution_container_ram_size is not None
            spelling = "execution_container" if console else self.declared.size_fields
            changes |= batches.size_body(wanted, spelling)
        if changes:
            self.hook.update_batch_instance(found.id, changes)
            self.updated += sorted(changes)
            log.info("Updated %s of instance %s.", ", ".join(sorted(changes)), found.id)

    # Its properties.

    def _check_instance_properties(self, on_version: Mapping[str, Property]) -> None:
        """Refuse properties that the version does not give to its instances, before anything is sent for the instance."""
        settable = {name: one for name, one in on_version.items() if one.origin != "PLUGIN_STATIC"}
        for one in self.declared.instance_properties:
            known = settable.get(one.technical_name)
            if known is None:
                raise ArgumentError(
                    "instance_properties",
                    f"names {one.technical_name}, which the version does not have for its instances; it has "
                    f"{', '.join(sorted(settable)) or 'none'}",
                )
            if known.property_type != one.property_type:
                raise ArgumentError(
                    "instance_properties",
                    f"declares {one.technical_name} as {one.property_type}; the version says {known.property_type}",
                )
            if known.writable is False:
                raise ArgumentError(
                    "instance_properties", f"names {one.technical_name}, which is not writable"
                )

    def _set_properties(self, instance_id: str, on_version: Mapping[str, Property]) -> None:
        if not self.declared.instance_properties:
            return
        there = {one.technical_name: one for one in self.hook.list_batch_instance_properties(instance_id)}
        for one in self.declared.instance_properties:
            current = there.get(one.technical_name)
            if current is not None and one.same_value(current.value):
                continue
            body = _whole(current or on_version[one.technical_name], one)
            self.hook.update_batch_instance_property(instance_id, one.technical_name, body)
            self.updated.append(one.technical_name)
            log.info("Set property %s of instance %s.", one.technical_name, instance_id)


def _whole(current: Property, declared: PluginProperty) -> dict[str, Any]:
    """Return the whole property object with the declared value (mediarithmics.md section 7.3 [seen])."""
    value = {**(current.value or {}), **declared.body()["value"]}
    return {
        "technical_name": declared.technical_name,
        "property_type": current.property_type,
        "origin": current.origin or declared.origin,
        "writable": current.writable,
        "deletable": current.deletable,
        "value": value,
    }
