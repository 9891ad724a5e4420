"""The block of the network works, here and in subprocesses: otherwise `nothing is downloaded` would be untested."""

import socket
import sys
import urllib.request

import no_network
import pytest
from project import run


def test_a_connection_to_another_machine_is_refused():
    with pytest.raises(no_network.NetworkBlocked, match=r"192\.0\.2\.1"), socket.socket() as outside:
        outside.connect(("192.0.2.1", 80))
    with pytest.raises(no_network.NetworkBlocked, match=r"example\.org"):
        urllib.request.urlopen("http://example.org", timeout=5)


def test_a_subprocess_is_blocked_too():
    done = run([sys.executable, "-c", "import urllib.request as u; u.urlopen('http://example.org', timeout=5)"], 60)
    assert done.returncode != 0 and "the tests run offline" in done.stdout


def test_this_machine_stays_reachable():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname(), 5) as client:
        assert client.getpeername() == server.getsockname()
