"""``airflow bulk emulator``: the platforms on loopback, and the connections that lead to them, for a shell."""

from __future__ import annotations

import json
import shlex
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_bulk.cli.errors import Ended
from airflow_bulk.cli.output import NOT_GOOD, Output, command
from airflow_bulk.emulator.centrapay_handle import ACCOUNT, CentrapayEmulator
from airflow_bulk.emulator.extract_load_handle import ExtractLoadEmulator
from airflow_bulk.emulator.handle import Emulator, EmulatorError

if TYPE_CHECKING:
    import argparse

#: Options that go to the emulator as they are.
OPTIONS = ("port", "datamart", "organisation", "seed", "fault", "start_delay", "run_seconds")
#: Seconds between two looks whether the emulator still runs.
LOOK = 0.5


@command
def start(args: argparse.Namespace, output: Output) -> int:
    """Run the emulator until Ctrl-C."""
    options: dict[str, Any] = {name: getattr(args, name) for name in OPTIONS}
    options |= {"strict": False} if args.no_strict else {}
    # A service manager's SIGTERM is an end as orderly as Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with Emulator.start(args.state, **options) as emulator:
            _introduce(emulator, output)
            while emulator.alive:
                time.sleep(LOOK)
            raise Ended(
                f"The emulator has ended by itself: {_last(emulator.log).rstrip('.')}. Start it again; --state DIR keeps its log.",
                NOT_GOOD,
            )
    except KeyboardInterrupt:
        output.tell("The emulator has ended.")
        return 0
    except EmulatorError as error:
        raise Ended(f"The emulator did not start: {_last(str(error))}") from None


def _introduce(emulator: Emulator, output: Output) -> None:
    """Print what a shell needs. The tokens stay in files that their owner alone can read."""
    folder = emulator.state.resolve()
    connections = {
        "mediarithmics": emulator.connection_json(),
        "centrapay": CentrapayEmulator(emulator).connection_json(account_id=ACCOUNT),
        "extract_load": ExtractLoadEmulator(emulator).connection_json("server"),
    }
    files = {f"AIRFLOW_CONN_{name.upper()}_DEFAULT": folder / f"{name}.json" for name in connections}
    for file, value in zip(files.values(), connections.values(), strict=True):
        _write_secret(file, value)
    output.document(
        {
            "ok": True,
            "url": emulator.url,
            "state": str(folder),
            "connection_files": {name: str(file) for name, file in files.items()},
        }
    )
    output.tell(
        f"The emulator listens at {emulator.url}; its log is {folder / 'server.log'}. Ctrl-C ends it."
    )
    output.tell("In another shell:")
    for name, file in files.items():
        output.line(f'export {name}="$(cat {shlex.quote(str(file))})"')


def _write_secret(file: Path, value: str) -> None:
    file.touch(mode=0o600)
    file.write_text(json.dumps(json.loads(value)) + "\n", encoding="utf-8")


def _last(text: str) -> str:
    """The last line of a text: the one that says why."""
    return (text.strip().splitlines() or ["it has not said why"])[-1].rpartition("error: ")[2]
