"""Waits for the jobs of a load without a worker. The triggerer imports this module."""

from __future__ import annotations

from airflow_bulk.triggers.waiting import UploadTrigger
from depot.api import DepotLoads
from depot.hook import DepotHook


class DepotTrigger(UploadTrigger):
    """Fires when the jobs of a load are over."""

    def port(self) -> DepotLoads:
        """The Depot's loads."""
        return DepotLoads()

    def hook(self) -> DepotHook:
        """The hook of the trigger's connection."""
        return DepotHook(self.conn_id)
