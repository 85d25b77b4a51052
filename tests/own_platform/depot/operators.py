"""Bring files to the Depot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_bulk import arguments as read
from airflow_bulk.arguments import SendingOptions
from airflow_bulk.operators.base import UploadOperator

if TYPE_CHECKING:
    from airflow_bulk.arguments import UploadArguments
    from depot.api import DepotLoads
    from depot.hook import DepotHook
    from depot.trigger import DepotTrigger


class LoadIntoDepotOperator(UploadOperator):
    """Send files into a new load of the Depot, wait for its jobs, judge.

    :param source: as in :class:`~airflow_bulk.operators.base.UploadOperator`, as are all other arguments.
    :param name: name of the load; two words in brackets are added.
    :param depot_conn_id: the connection.
    """

    template_fields: Sequence[str] = (*UploadOperator.template_fields, "name")

    def __init__(
        self,
        *,
        source: str | Sequence[str],
        name: str,
        depot_conn_id: str = "depot_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(source=source, **kwargs)
        self.name = name
        self.depot_conn_id = depot_conn_id

    def hook(self) -> DepotHook:
        """The hook of the operator's connection."""
        from depot.hook import DepotHook

        return DepotHook(self.depot_conn_id)

    def port(self, hook: DepotHook) -> DepotLoads:
        """The Depot's loads."""
        from depot.api import DepotLoads

        return DepotLoads()

    def upload_arguments(
        self, given: Mapping[str, Any], sending: SendingOptions, hook: DepotHook
    ) -> UploadArguments:
        """Read the arguments: those of every platform, the name, and which function checks a line."""
        from airflow_bulk.arguments import UploadArguments, read_upload

        return UploadArguments(
            name=read.text("name", given["name"]),
            line_check="depot.lines:check_line",
            **read_upload(given, sending),
        )

    def upload_trigger(self, port: DepotLoads, **waiting: Any) -> DepotTrigger:
        """Make the trigger that waits."""
        from depot.trigger import DepotTrigger

        return DepotTrigger(conn_id=self.depot_conn_id, **waiting)
