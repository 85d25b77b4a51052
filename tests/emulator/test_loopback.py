"""The emulator binds loopback alone, however an address is spelled, and opens no socket before it has said so."""

from __future__ import annotations

import ipaddress
import socket

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from airflow_bulk.emulator.server import loopback_socket


@settings(max_examples=300, deadline=None, derandomize=True)
@given(address=st.ip_addresses())
@example(address=ipaddress.ip_address("0.0.0.0"))
@example(address=ipaddress.ip_address("::"))
@example(address=ipaddress.ip_address("10.0.0.1"))
@example(address=ipaddress.ip_address("169.254.169.254"))
@example(address=ipaddress.ip_address("::ffff:192.0.2.1"))
@example(address=ipaddress.ip_address("fe80::1"))
def test_no_other_address_is_bound(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    assume(not address.is_loopback and getattr(address, "ipv4_mapped", None) not in _LOOPBACK)
    # Without an interface of that family the name cannot even be looked up.
    with pytest.raises((ValueError, socket.gaierror)) as refusal:
        loopback_socket(str(address), 0).close()
    if isinstance(refusal.value, ValueError):
        assert "is not a loopback address" in str(refusal.value)


class _Net:
    def __contains__(self, address: object) -> bool:
        return isinstance(address, ipaddress.IPv4Address) and address.is_loopback


_LOOPBACK = _Net()


@pytest.mark.parametrize("host", ["", "0", "0.0.0.0", "0x0", "3232235777", "::0", "host.invalid"])
def test_odd_spellings_of_everywhere_are_refused(host: str) -> None:
    with pytest.raises((ValueError, OSError)):
        loopback_socket(host, 0).close()


def test_the_name_of_this_machine_is_refused_unless_it_is_loopback() -> None:
    name = socket.gethostname()
    try:
        found = {entry[4][0] for entry in socket.getaddrinfo(name, 0, type=socket.SOCK_STREAM)}
    except OSError:
        found = {"192.0.2.1"}
        name = "192.0.2.1"
    if all(ipaddress.ip_address(str(one)).is_loopback for one in found):
        with loopback_socket(name, 0) as sock:
            assert ipaddress.ip_address(sock.getsockname()[0]).is_loopback
    else:
        with pytest.raises(ValueError, match="is not a loopback address"):
            loopback_socket(name, 0)


def test_a_star_never_means_everywhere() -> None:
    """Some systems know no such name; glibc takes it for loopback."""
    try:
        sock = loopback_socket("*", 0)
    except (ValueError, OSError):
        return
    with sock:
        assert ipaddress.ip_address(sock.getsockname()[0]).is_loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.255.255.254", "127.1", "2130706433"])
def test_loopback_is_bound_and_nothing_else(host: str) -> None:
    with loopback_socket(host, 0) as sock:
        assert ipaddress.ip_address(sock.getsockname()[0]).is_loopback
