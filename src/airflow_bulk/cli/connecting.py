"""Open a connection of Airflow for a command, or say in one sentence why not."""

from __future__ import annotations

from typing import TypeVar

from airflow_bulk.cli.errors import Ended, for_a_shell
from airflow_bulk.hooks.platform_hook import PlatformHook

H = TypeVar("H", bound=PlatformHook)


def opened(hook: H) -> H:
    """Return the hook once its connection was read.

    :raises Ended: there is no such connection, or a field of it is missing.
    """
    from airflow.sdk.exceptions import AirflowException

    try:
        hook.prepare()
    except AirflowException as error:
        variable = f"AIRFLOW_CONN_{hook.conn_id.upper()}"
        raise Ended(
            f"Connection {hook.conn_id!r} cannot be read: {str(error).rstrip('.')}. Add it in Airflow (UI, or airflow "
            f"connections add), or set {variable}."
        ) from None
    except ValueError as error:
        raise Ended(for_a_shell(str(error))) from None
    return hook
