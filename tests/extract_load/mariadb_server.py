"""A MariaDB of the tests' own, where its program is installed; it listens on a socket of the file system alone."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path


class NoMariadb(Exception):
    """There is none, and none can be started; says why."""


@contextlib.contextmanager
def mariadb_server() -> Iterator[str]:
    """Give the socket of a new server, whose user ``root`` has no password; stop it in the end.

    :raises NoMariadb: its programs are not here, or it does not start.
    """
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"])
    programs = [shutil.which(name, path=path) for name in ("mariadb-install-db", "mariadbd")]
    if None in programs:
        raise NoMariadb("there is no mariadbd; Debian's package is mariadb-server")
    # The name of a socket has about 100 characters at most, and pytest's folders are long.
    with tempfile.TemporaryDirectory(prefix="bulk-maria-") as name:
        folder = Path(name)
        user = ["--user=root"] if os.geteuid() == 0 else []
        options = ["--no-defaults", f"--datadir={folder / 'data'}", *user]
        made = subprocess.run(
            [programs[0], *options, "--auth-root-authentication-method=normal", "--skip-test-db"],
            check=False,
            capture_output=True,
            timeout=120,
        )
        if made.returncode:
            raise NoMariadb(f"mariadb-install-db ended with {made.returncode}")
        socket = folder / "socket"
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(
                [programs[1], *options, f"--socket={socket}", "--skip-networking"], stdout=log, stderr=log
            )
        try:
            _wait_for(server, socket)
            yield str(socket)
        finally:
            server.terminate()
            server.wait(60)


def _wait_for(server: subprocess.Popen[bytes], socket: Path) -> None:
    """The socket is there as soon as the server takes connections."""
    deadline = time.monotonic() + 60
    while not socket.exists():
        if server.poll() is not None or time.monotonic() > deadline:
            raise NoMariadb("mariadbd did not start")
        time.sleep(0.05)
