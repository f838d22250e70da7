"""How fast TCP really is between two hosts: a small transfer of our own, and bytes there and back.

`python -m hpcdl.launch.link ADDRESS PORT` is the other end.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from statistics import median
from threading import Thread
from time import perf_counter

SECONDS, SETTLE_SECONDS = 1.5, 0.5
"""Of a transfer, and what is dropped at its beginning: slow start, and what an idle link sends at once."""
TURNS = 200
WAIT_SECONDS = 30.0
CHUNK = 2**18


def measure(address: str, call: Callable[[int], object]) -> tuple[float, float] | None:
    """Bits a second from another host to this one, payload alone, and seconds of a byte there and back (median).

    Args:
        address: of this host, on the network that is meant.
        call: starts the other end, which shall connect to this port, and returns when that has ended.

    Returns:
        Both, or None where the other end does not come.
    """
    with socket.create_server((address, 0)) as server:
        server.settimeout(WAIT_SECONDS)
        caller = Thread(target=call, args=(server.getsockname()[1],), daemon=True)
        caller.start()
        try:
            connection, _ = server.accept()
            with connection:
                connection.settimeout(WAIT_SECONDS)
                found = _receive(connection)
        except OSError:
            return None
    caller.join(WAIT_SECONDS)
    return found


def _receive(connection: socket.socket) -> tuple[float, float] | None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    trips = []
    for _ in range(TURNS):
        start = perf_counter()
        connection.sendall(b".")
        if not connection.recv(1):
            return None
        trips.append(perf_counter() - start)
    buffer = bytearray(CHUNK)
    begin = last = perf_counter()
    settled, held = None, 0
    while count := connection.recv_into(buffer):
        last = perf_counter()
        if settled is not None:
            held += count
        elif last - begin > SETTLE_SECONDS:
            settled = last
    if settled is None or last <= settled:
        return None
    return 8 * held / (last - settled), median(trips)


def send(address: str, port: int) -> None:
    """The other end: bytes back, then as many as go through."""
    with socket.create_connection((address, port), WAIT_SECONDS) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(TURNS):
            connection.sendall(connection.recv(1))
        chunk, begin = bytes(CHUNK), perf_counter()
        while perf_counter() - begin < SECONDS:
            connection.sendall(chunk)


if __name__ == "__main__":
    send(sys.argv[1], int(sys.argv[2]))
