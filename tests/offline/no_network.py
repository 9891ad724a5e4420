"""Refuses every connection but to this machine, so that a test that reaches for the network says so."""

import ipaddress
import socket

_connect, _connect_ex, _getaddrinfo = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo


class NetworkBlocked(RuntimeError):
    "Raised in place of a connection. Not an OSError: code that forgives a failed download must not hide it."


def is_here(host: object) -> bool:
    "Whether `host` is this machine."
    if isinstance(host, bytes):
        host = host.decode()
    if not host or host in ("localhost", socket.gethostname(), socket.getfqdn()):
        return True
    try:
        address = ipaddress.ip_address(str(host).split("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def refuse(target: object) -> None:
    "Raise, naming the target."
    raise NetworkBlocked(
        f"the tests run offline, and something asked for {target!r}; nothing may be downloaded unasked"
    )


def check(address: object) -> None:
    "Raise unless `address` (as given to `socket.connect`) is a file or on this machine."
    if isinstance(address, tuple) and not is_here(address[0]):
        refuse(address)


def connect(self: socket.socket, address: object) -> None:
    check(address)
    return _connect(self, address)


def connect_ex(self: socket.socket, address: object) -> int:
    check(address)
    return _connect_ex(self, address)


def getaddrinfo(host: object, *args, **kwargs) -> list:
    try:
        if not is_here(host):
            ipaddress.ip_address(str(host))  # a written-out address needs no look-up: connect decides
    except ValueError:
        refuse(host)
    return _getaddrinfo(host, *args, **kwargs)


def install() -> None:
    "Replace the functions of `socket`."
    socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo = connect, connect_ex, getaddrinfo
