"""What begins the stories of crash tests: two emulated platforms, a careless one, and the connections to them."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from echo_platform import EchoPlatform
from import_story import CANARY, PERSON, ImportStory
from kind_stories import KINDS, Kinds, kinds_on
from task_run import TaskRun

if TYPE_CHECKING:
    from airflow_bulk.emulator.handle import Emulator
    from airflow_stack import AirflowStack

DATAMARTS = [str(number) for number in range(3300, 3360)]
#: The platform of each DAG that imports.
DAGS = {
    "crash_quick": "crash_quick",
    "crash_orphan": "crash_quick",
    "crash_mapped": "crash_quick",
    "crash_mapped_sources": "crash_quick",
    "crash_spread": "crash_quick",
    "crash_waiting": "crash_waiting",
    "crash_spread_deferred": "crash_waiting",
    "crash_deferred": "crash_waiting",
    "crash_mapped_deferred": "crash_waiting",
    "cleared_upload": "crash_quick",
    "cleared_documents": "crash_quick",
}
#: Those of ``dag_files/canary_kinds.py``.
TALKERS = ("canary_echo", "canary_echo_centrapay", "canary_centrapay", "canary_properties")


class Teller:
    """``tell(dag_id)`` begins a story: a run that nothing else touches.

    :param new_folder: makes a folder for each story.
    :ivar platforms: by connection: what one takes is over at once, what the other takes waits for the test.
    :ivar echo: the careless platform.
    """

    def __init__(
        self,
        stack: AirflowStack,
        platforms: dict[str, Emulator],
        kinds: Kinds,
        echo: EchoPlatform,
        new_folder: Callable[[str], Path],
    ) -> None:
        self.stack, self.platforms, self.kinds, self.echo = stack, platforms, kinds, echo
        self._new_folder = new_folder
        self._datamarts = itertools.cycle(DATAMARTS)

    def __call__(self, dag_id: str) -> Any:
        folder = self._new_folder("story")
        if dag_id in KINDS:
            return self.kinds.begin(dag_id, folder)
        if dag_id in TALKERS:
            story: TaskRun = ImportStory(
                self.stack, dag_id, self.platforms["crash_quick"], f"{dag_id}", folder
            )
            return story
        # A DAG that a test has written itself imports into the quick platform.
        platform = self.platforms[DAGS.get(dag_id, "crash_quick")]
        return ImportStory(self.stack, dag_id, platform, next(self._datamarts), folder)


@contextmanager
def teller_on(stack: AirflowStack, new_folder: Callable[[str], Path]) -> Iterator[Teller]:
    """Start the platforms, and make their connections and DAGs ready.

    :param new_folder: makes a folder for each story.
    """
    from airflow_bulk.emulator.handle import Emulator

    token = f"{CANARY}-token-{secrets.token_hex(8)}"
    # A careless platform: its messages quote lines, its results name people.
    shared: dict[str, Any] = {"datamart": DATAMARTS, "token": token, "messages_quote_lines": True}
    with (
        Emulator.start(start_delay=0.0, run_seconds=0.0, **shared) as quick,
        Emulator.start(start_delay=3600.0, run_seconds=3600.0, **shared) as waiting,
        EchoPlatform() as echo,
    ):
        quick.settings(top_identifiers={PERSON: 3})
        platforms = {"crash_quick": quick, "crash_waiting": waiting}
        for conn_id, emulator in platforms.items():
            stack.api.add_connection(conn_id, emulator.connection_json())
        add = stack.api.add_connection
        add("canary_echo", echo.connection_json("mediarithmics", token))
        add("canary_echo_centrapay", echo.connection_json("centrapay", token, account_id="anAccount"))
        for dag_id in (*DAGS, *TALKERS):
            stack.api.wait_for_dag(dag_id)
            stack.api.unpause(dag_id)
        with kinds_on(stack, platforms) as kinds:
            yield Teller(stack, platforms, kinds, echo, new_folder)
