"""Two hosts in one machine: Linux's network namespaces, joined by a link that can be taken down. For root alone."""

import ctypes
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

NEAR, FAR = "near", "far"
ADDRESSES = {NEAR: "10.213.77.1", FAR: "10.213.77.2"}
"""At which each is reached, by itself also while the link is down."""
_ENDS = {NEAR: "10.213.78.1", FAR: "10.213.78.2"}
_NETWORK, _NAMES = 0x40000000, 0x04000000
"""Linux's kinds of namespaces: CLONE_NEWNET, CLONE_NEWUTS."""


class Hosts:
    """The two, as long as `two_hosts` lasts."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._spaces = {host: f"lsml-{os.getpid()}-{host}" for host in ADDRESSES}

    def make(self) -> None:
        """Raises CalledProcessError or FileNotFoundError where this machine has no such namespaces."""
        for space in self._spaces.values():
            _ip("netns", "add", space)
        ends = ("name", "cable", "netns", self._spaces[NEAR], "type", "veth", "peer", "name", "cable", "netns")
        _ip("link", "add", *ends, self._spaces[FAR])

    def start(self) -> None:
        """Gives both an address, and takes the link up."""
        for host, address in ADDRESSES.items():
            _ip("-n", self._spaces[host], "address", "add", f"{address}/32", "dev", "lo")
            _ip("-n", self._spaces[host], "address", "add", f"{_ENDS[host]}/24", "dev", "cable")
            _ip("-n", self._spaces[host], "link", "set", "dev", "lo", "up")
        self.connect()

    def connect(self) -> None:
        """Takes the link up."""
        for host, other in ((NEAR, FAR), (FAR, NEAR)):
            way = (f"{ADDRESSES[other]}/32", "via", _ENDS[other], "dev", "cable", "src", ADDRESSES[host])
            _ip("-n", self._spaces[host], "link", "set", "dev", "cable", "up")
            _ip("-n", self._spaces[host], "route", "replace", *way)

    def disconnect(self) -> None:
        """Takes the link down."""
        for space in self._spaces.values():
            _ip("-n", space, "link", "set", "dev", "cable", "down")

    def end(self) -> None:
        for space in self._spaces.values():
            with suppress(subprocess.CalledProcessError, FileNotFoundError):
                _ip("netns", "delete", space)

    @contextmanager
    def on(self, host: str) -> Iterator[None]:
        """Within it this thread, what it opens and what it starts are on that host, and see its name."""
        own = [(os.open(f"/proc/thread-self/ns/{kind}", os.O_RDONLY), kind) for kind in ("net", "uts")]
        there = os.open(Path("/run/netns") / self._spaces[host], os.O_RDONLY)
        try:
            self._call(self._libc.setns(there, _NETWORK))
            self._call(self._libc.unshare(_NAMES))
            socket.sethostname(host)
            yield
        finally:
            for number, kind in own:
                self._call(self._libc.setns(number, {"net": _NETWORK, "uts": _NAMES}[kind]))
                os.close(number)
            os.close(there)

    @staticmethod
    def _call(result: int) -> None:
        if result:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


@contextmanager
def two_hosts() -> Iterator[Hosts]:
    """Skips the test where they cannot be made."""
    hosts = Hosts()
    try:
        try:
            hosts.make()
        except FileNotFoundError:
            pytest.skip("the program ip is not installed (Debian's package iproute2)")
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no network namespaces can be made here: {error.stderr.strip()}")
        hosts.start()
        yield hosts
    finally:
        hosts.end()
