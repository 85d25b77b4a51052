"""The receiver of the upload benchmark: takes bodies, counts their lines, looks at their last byte.

Lines are counted by ``wc -l`` behind a pipe: Python's own count costs more than sending does, and the receiver shares
the processors with what is measured.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import ssl
import subprocess
import threading
from pathlib import Path

BUFFER = 1 << 20


def receive(kind: str, folder: str) -> None:
    """Listen on a free port, print it, and serve for ever."""
    context = None
    if kind == "TLS":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(Path(folder) / "cert.pem", Path(folder) / "key.pem")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            sock, _ = listener.accept()
            threading.Thread(target=_serve, args=(sock, context), daemon=True).start()


def _serve(sock: socket.socket, context: ssl.SSLContext | None) -> None:
    buffer = bytearray(BUFFER)
    try:
        with context.wrap_socket(sock, server_side=True) if context else sock as connection:
            while _request(connection, buffer):
                pass
    except OSError:
        return


def _request(sock: socket.socket, buffer: bytearray) -> bool:
    head = read_head(sock)
    if head is None:
        return False
    lines, last = count_body(sock, *head, buffer)
    answer = json.dumps({"lines": lines, "ends_line": last == b"\n"}).encode()
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(answer), answer))
    return True


def read_head(sock: socket.socket) -> tuple[bytes, bytes] | None:
    """Read the head of a request, and what has come after it; None where the other side is gone."""
    head = b""
    while b"\r\n\r\n" not in head:
        more = sock.recv(65536)
        if not more:
            return None
        head += more
    head, _, rest = head.partition(b"\r\n\r\n")
    return head, rest


def count_body(sock: socket.socket, head: bytes, rest: bytes, buffer: bytearray) -> tuple[int, bytes]:
    """Read a body; return how many lines it has, and its last byte.

    :param rest: what of it has come with the head.
    :raises OSError: the other side is gone.
    """
    head = head.lower()
    left = int(head.partition(b"content-length: ")[2].split(b"\r\n")[0]) - len(rest)
    if b"expect: 100-continue" in head:
        sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    with subprocess.Popen(["wc", "-l"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as counter:
        pipe = counter.stdin.fileno()
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, BUFFER)
        put(pipe, rest)
        last = rest[-1:]
        while left > 1 and not isinstance(sock, ssl.SSLSocket):  # straight from the socket into the pipe
            count = os.splice(sock.fileno(), pipe, min(left - 1, BUFFER))
            if not count:
                raise ConnectionResetError
            left -= count
        view = memoryview(buffer)
        while left:
            count = sock.recv_into(view, min(left, BUFFER))
            if not count:
                raise ConnectionResetError
            left -= count
            last = bytes(view[count - 1 : count])
            put(pipe, view[:count])
        counter.stdin.close()
        lines = int(counter.stdout.read())
    return lines, last


def put(pipe: int, data: bytes | memoryview) -> None:
    """Write all of it."""
    view = memoryview(data)
    while view:
        view = view[os.write(pipe, view) :]
