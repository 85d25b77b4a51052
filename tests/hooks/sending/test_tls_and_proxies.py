"""Bodies over TLS and through proxies, and the token that nobody else may see."""

from __future__ import annotations

import contextlib
import socket
import threading
import traceback

import pytest
from tests.hooks.sending.pooling import (
    ALL_WAYS,
    GOOD_LINES,
    Gate,
    jobs_of,
    make_pool,
    sent_lines,
    target_of,
)

from airflow_bulk.hooks.sending.protocol import Target


@ALL_WAYS
@pytest.mark.parametrize("trust", ["file", "nobody", "anybody"])
def test_tls(tls_sink, certificate, source, workers, trust):
    gate = Gate()
    verify = {"file": str(certificate[0]), "nobody": True, "anybody": False}[trust]
    with make_pool(source, workers) as pool:
        pool.run(pool.first_pass(), gate)
        pool.aim(target_of(tls_sink, verify=verify))
        pool.run(jobs_of(gate.parts, check=False), gate)
    if trust == "nobody":
        assert not tls_sink.taken and "CERTIFICATE_VERIFY_FAILED" in str(gate.errors[0])
    else:
        assert sent_lines(tls_sink) == GOOD_LINES and tls_sink.connections <= (2 if workers == 2 else 1)


@ALL_WAYS
def test_the_gate_refuses_the_last_block_over_tls(tls_sink, source, workers):
    gate = Gate()
    gate.on_finish = lambda part: 1 / 0
    with make_pool(source, workers) as pool:
        pool.run(pool.first_pass(), gate)
        pool.aim(target_of(tls_sink, verify=False))
        with pytest.raises(ZeroDivisionError):
            pool.run(jobs_of(gate.parts, check=False), gate)
    assert tls_sink.wait_for(lambda: len(tls_sink.cut) + tls_sink.resets >= 1)
    assert not tls_sink.taken


def test_a_proxy_gets_the_whole_url_and_its_login(sink, source):
    gate = Gate()
    with make_pool(source) as pool:
        pool.run(pool.first_pass(), gate)
        target = target_of(sink, proxies={"http": f"http://me:pass@127.0.0.1:{sink.port}"})
        pool.aim(Target(url="http://platform.invalid/v1/x?a=b", headers={}, proxies=target.proxies))
        pool.run(jobs_of(gate.parts[:1], check=False), gate)
    assert sink.taken[0].head.startswith(
        b"POST http://platform.invalid/v1/x?a=b HTTP/1.1\r\nHost: platform.invalid\r\n"
    )
    assert b"Proxy-Authorization: Basic bWU6cGFzcw==" in sink.taken[0].head


def _tunnel(port_of_target: int) -> tuple[int, list[bytes]]:
    """A proxy that takes one CONNECT and passes bytes on; returns its port and what it was asked."""
    listener, asked = socket.create_server(("127.0.0.1", 0)), []

    def pump(source: socket.socket, drain: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                drain.sendall(data)
            drain.shutdown(socket.SHUT_WR)

    def serve() -> None:
        with listener:
            near, _ = listener.accept()
        head = b""
        while b"\r\n\r\n" not in head:
            head += near.recv(1)
        asked.append(head)
        far = socket.create_connection(("127.0.0.1", port_of_target))
        near.sendall(b"HTTP/1.1 200 Go\r\n\r\n")
        threading.Thread(target=pump, args=(far, near), daemon=True).start()
        pump(near, far)

    port = listener.getsockname()[1]
    threading.Thread(target=serve, daemon=True).start()
    return port, asked


def test_tls_goes_through_a_tunnel_that_sees_no_token(tls_sink, certificate, source):
    gate = Gate()
    port, asked = _tunnel(tls_sink.port)
    with make_pool(source) as pool:
        pool.run(pool.first_pass(), gate)
        proxies = {"https": f"http://me:pass@127.0.0.1:{port}"}
        pool.aim(target_of(tls_sink, verify=str(certificate[0]), proxies=proxies))
        pool.run(jobs_of(gate.parts, check=False), gate)
    assert sent_lines(tls_sink) == GOOD_LINES
    assert asked[0].startswith(f"CONNECT localhost:{tls_sink.port} ".encode())
    assert b"Proxy-Authorization: Basic bWU6cGFzcw==" in asked[0] and b"canary" not in asked[0]
    assert b"Proxy-Authorization" not in tls_sink.taken[0].head


def test_the_token_is_not_in_a_repr(sink):
    assert "canary" not in repr(target_of(sink))


def test_a_token_that_no_header_may_hold_is_not_quoted(sink, source):
    gate = Gate()
    with make_pool(source) as pool:
        pool.run(pool.first_pass(), gate)
        pool.aim(Target(url=sink.url, headers={"Authorization": "canary\ntoken"}))
        with pytest.raises(ValueError, match="'Authorization'") as refusal:
            pool.run(jobs_of(gate.parts, check=False), gate)
    assert "canary" not in "".join(traceback.format_exception(refusal.value))
