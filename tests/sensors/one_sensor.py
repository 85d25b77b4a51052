"""A sensor over its tries, without a scheduler: pokes, reschedules and deferrals as Airflow makes them.

Each step builds the sensor anew, as a worker does; what survives is the task's state. Real Airflow runs each mode once
in ``test_in_airflow.py``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from datetime import datetime
from typing import Any

from airflow.sdk import timezone
from airflow.sdk.exceptions import AirflowRescheduleException, TaskDeferred
from airflow.sdk.module_loading import import_string
from one_task import Task

from airflow_bulk.sensors.document_import import DocumentImportSensor

MODES = ("poke", "reschedule", "deferrable")


async def first_event(trigger: Any) -> Any:
    """Run a trigger until it fires."""
    async with aclosing(trigger.run()) as events:
        async for event in events:
            return event.payload
    raise AssertionError("the trigger ended without an event")


class SensorTask(Task):
    """One task instance of a sensor.

    :param mode: ``poke``, ``reschedule`` or ``deferrable``.
    :ivar waits: how often the worker was left.
    :ivar triggers: the triggers that were deferred to.
    :ivar between: called whenever the worker was left.
    """

    def __init__(self, mode: str, import_id: str, **arguments: Any) -> None:
        super().__init__(lambda: self._sensor(arguments))
        self.mode = mode
        self.import_id = import_id
        self.waits = 0
        self.triggers: list[Any] = []
        self.between: Callable[[], None] = lambda: None
        self._first_rescheduled: datetime | None = None

    def _sensor(self, arguments: dict[str, Any]) -> DocumentImportSensor:
        how: dict[str, Any] = {"deferrable": True} if self.mode == "deferrable" else {"mode": self.mode}
        given = {"import_id": self.import_id, "poke_interval": 0.05, "timeout": 60, **how, **arguments}
        return DocumentImportSensor(task_id="t", **given)

    def context(self, **params: Any) -> dict[str, Any]:
        context = super().context(**params)
        context["ti"].get_first_reschedule_date = lambda _: self._first_rescheduled
        return context

    def run(self, **params: Any) -> Any:
        """One try, to its end."""
        self.try_number += 1
        resume: dict[str, Any] = {}
        while True:
            self.operator = self.make()
            context = self.context(**params)
            self.operator.render_template_fields(context)
            try:
                if resume:
                    return self.operator.resume_execution(context=context, **resume)
                return self.operator.execute(context)
            except AirflowRescheduleException:
                self._first_rescheduled = self._first_rescheduled or timezone.utcnow()
            except TaskDeferred as deferred:
                path, arguments = deferred.trigger.serialize()
                trigger = import_string(path)(**arguments)
                self.triggers.append(trigger)
                resume = {"next_method": deferred.method_name, "next_kwargs": {"event": self._fired(trigger)}}
            self.waits += 1

    def _fired(self, trigger: Any) -> Any:
        self.between()
        return asyncio.run(first_event(trigger))
