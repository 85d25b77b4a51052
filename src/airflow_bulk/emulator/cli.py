"""The command line: ``python -m airflow_bulk.emulator``.

It binds loopback only, keeps its state in a 0700 folder, and prints one line of JSON on standard output
once it can be called. Logs go to standard error and hold neither tokens nor lines.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import fcntl
import json
import logging
import os
import random
import secrets
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from airflow_bulk.emulator.settings import Settings

TOKEN_VARIABLE = "AIRFLOW_BULK_EMULATOR_TOKEN"  # noqa: S105 - a name, not a token
CONNECTION_FILE = "connection.json"

EPILOG = """\
ready line: one line of JSON on standard output: url, state, connection_file, pid, seed.
connection_file holds the value of an Airflow connection to the emulator, token included (mode 0600):
  export AIRFLOW_CONN_MEDIARITHMICS_DEFAULT="$(cat STATE/connection.json)"

faults: --fault NAME[:PROBABILITY[:PARAM=VALUE]...], for example
  --fault lost_answer:0.1  --fault late:1:seconds=8:times=1  --fault rate_limited:0.2:retry_after=2
Every fault takes path (a regular expression), method, times and skip. GET /_emulator lists the faults.

control: /_emulator/{clock,settings,faults,requests,imports,executions,held,reset}, same token.
The whole story is in docs/emulator.md.
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m airflow_bulk.emulator",
        description="The mediarithmics bulk API on loopback, for demos and tests.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--host", default="127.0.0.1", help="a loopback address (default: %(default)s)")
    made.add_argument("--port", type=int, default=0, help="0 takes a free one (default)")
    made.add_argument(
        "--state",
        type=Path,
        metavar="DIR",
        help="keep the state here; else a temporary folder, removed at the end",
    )
    made.add_argument(
        "--token", help=f"the API token; else ${TOKEN_VARIABLE}, else the state's, else a random one"
    )
    made.add_argument(
        "--datamart",
        action="append",
        metavar="ID",
        help="a datamart on which the token has rights (repeatable; default: 3300)",
    )
    made.add_argument("--organisation", default="900", metavar="ID", help="their organisation (default: 900)")
    made.add_argument("--seed", type=int, help="seed of every random choice (default: a random one)")
    made.add_argument(
        "--fault", action="append", default=[], metavar="SPEC", help="a fault, see below (repeatable)"
    )
    made.add_argument("--certfile", type=Path, help="serve TLS with this certificate (PEM)")
    made.add_argument("--keyfile", type=Path, help="its key (PEM), unless it is in --certfile")
    made.add_argument("--until-stdin-closes", action="store_true", help="end when standard input ends")
    group = made.add_argument_group("settings (PATCH /_emulator/settings changes them while it runs)")
    for field in dataclasses.fields(Settings):
        flag = "--" + field.name.replace("_", "-")
        default = getattr(Settings(), field.name)
        if isinstance(default, bool):
            group.add_argument(
                flag, action=argparse.BooleanOptionalAction, default=None, help=f"default: {default}"
            )
        elif isinstance(default, (int, float, str)):
            group.add_argument(flag, type=type(default), metavar="N", help=f"default: {default}")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the emulator.

    :return: the exit code: 0 after an orderly end, 2 when it could not start.
    """
    made = parser()
    options = made.parse_args(arguments)
    try:
        # Imported late: --help must work without the extra.
        from airflow_bulk.emulator import server
    except ImportError as error:
        made.error(f"{error.name} is missing: install this package with its extra [emulator]")
    for path in (options.certfile, options.keyfile):
        # ssl does not say which file it misses.
        if path is not None and not path.is_file():
            made.error(f"there is no file {path}")
    os.umask(0o077)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    try:
        with _state_folder(options.state) as folder:
            sock = server.loopback_socket(options.host, options.port)
            with contextlib.closing(sock):
                _run(options, folder, sock)
    except (OSError, ValueError) as error:
        made.error(str(error))
    return 0


def _run(options: argparse.Namespace, folder: Path, sock: socket.socket) -> None:
    from airflow_bulk.emulator import faults, server
    from airflow_bulk.emulator.world import Account, World

    token = (
        options.token or os.environ.get(TOKEN_VARIABLE) or _kept_token(folder) or secrets.token_urlsafe(24)
    )
    account = Account(token, tuple(options.datamart or ["3300"]), options.organisation)
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1_000_000)
    world = World(folder, account, seed)
    given = {field.name: getattr(options, field.name, None) for field in dataclasses.fields(Settings)}
    world.change_settings({name: value for name, value in given.items() if value is not None})
    for text in options.fault:
        world.faults.add(*faults.parse(text))
    url = server.url_of(sock, tls=options.certfile is not None)
    connection_file = folder / CONNECTION_FILE
    connection_file.write_text(
        json.dumps(_connection(url, account, options.certfile)) + "\n", encoding="utf-8"
    )

    def ready() -> None:
        line = {
            "ready": True,
            "url": url,
            "state": str(folder),
            "connection_file": str(connection_file),
            "pid": os.getpid(),
            "seed": seed,
        }
        print(json.dumps(line), flush=True)

    server.serve(
        world,
        sock,
        ready,
        certfile=options.certfile,
        keyfile=options.keyfile,
        until_stdin_closes=options.until_stdin_closes,
    )


def _connection(url: str, account: Any, certfile: Path | None) -> dict[str, Any]:
    """Return an Airflow connection to this emulator, as ``AIRFLOW_CONN_...`` takes it."""
    # Numbers, since Airflow warns of a short text in an extra (airflow.md section 7.4).
    ids = {"datamart_id": account.datamarts[0], "organisation_id": account.organisation_id}
    extra = {name: int(one) if one.isascii() and one.isdigit() else one for name, one in ids.items()}
    if certfile is not None:
        extra["ca_path"] = str(certfile.resolve())
    return {"conn_type": "mediarithmics", "host": url, "password": account.token, "extra": extra}


def _kept_token(folder: Path) -> str | None:
    try:
        kept = json.loads((folder / CONNECTION_FILE).read_text(encoding="utf-8"))
        return str(kept["password"])
    except (OSError, ValueError, KeyError):
        return None


@contextlib.contextmanager
def _state_folder(wanted: Path | None) -> Iterator[Path]:
    """Give a state folder that no other emulator uses; remove it afterwards unless it was asked for."""
    if wanted is None:
        folder = Path(tempfile.mkdtemp(prefix="bulk-emulator-"))
    else:
        folder = wanted.resolve()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with (folder / "lock").open("w") as lock:
            _hold(lock, folder)
            yield folder
    finally:
        if wanted is None:
            shutil.rmtree(folder, ignore_errors=True)


def _hold(lock: TextIO, folder: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ValueError(f"another emulator uses the state in {folder}") from None
