"""The arguments of a delegated batch, read once when the task runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_bulk import arguments as read
from airflow_bulk.arguments import ArgumentError
from airflow_bulk.extract_load.delegating import server_definition


@dataclass(frozen=True, kw_only=True)
class DelegatedBatchArguments:
    """What a task was asked to have the server run, every value proper.

    :param definition: the batch as the server takes it.
    :param settle: seconds to wait for a batch to show after the answer to its creation was lost.
    """

    definition: dict[str, Any]
    on_clear: str
    wait_for_completion: bool
    poll_interval: float
    timeout: float
    settle: float


def read_arguments(given: Mapping[str, Any]) -> DelegatedBatchArguments:
    """Read an operator's arguments after its templates were rendered.

    :param given: by the operator's own argument names.
    :raises ArgumentError: naming the field.
    """
    definition = given["definition"]
    if not isinstance(definition, Mapping):
        raise ArgumentError("definition", f"must be a batch definition, not {type(definition).__name__}")
    try:
        batch = server_definition(definition)
    except ValueError as error:
        raise ArgumentError("definition", f"cannot be sent: {str(error).rstrip('.')}") from None
    return DelegatedBatchArguments(
        definition=batch,
        on_clear=read.choice("on_clear", given["on_clear"], ("run_again", "keep")),
        wait_for_completion=read.flag("wait_for_completion", given["wait_for_completion"]),
        poll_interval=read.duration("poll_interval", given["poll_interval"]),
        timeout=read.duration("timeout", given["timeout"]),
        settle=read.number("settle", given["settle"]),
    )
