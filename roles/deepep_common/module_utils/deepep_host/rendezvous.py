"""Where the ranks of a run meet: an address of its first host, and a port that is free there."""

from __future__ import annotations

import fcntl
import random
import socket
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from . import processes

_SIOCGIFADDR = 0x8915
_LOWEST = 20000
_HIGHEST = 65535


class RendezvousError(Exception):
    """No address or no port; the text says what to change."""


def ephemeral_range() -> tuple[int, int]:
    """Returns the ports that the kernel hands out by itself (first, last)."""
    try:
        low, high = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return 32768, 60999
    return int(low), int(high)


def candidates(ephemeral: tuple[int, int]) -> list[int]:
    """Returns the ports to choose from: none that the kernel may give to a connection in the meantime.

    Where the kernel's range leaves nothing, all ports from 20000 on.
    """
    low, high = ephemeral
    free = [port for port in range(_LOWEST, _HIGHEST + 1) if not low <= port <= high]
    return free or list(range(_LOWEST, _HIGHEST + 1))


def is_free(port: int) -> bool:
    """Returns whether the port can be bound on all addresses, IPv4 and (where there is one) IPv6."""
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):  # noqa: S104 - a probe, closed at once
        try:
            probe = socket.socket(family, socket.SOCK_STREAM)
        except OSError:
            continue
        with probe:
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                probe.bind((address, port))
            except OSError as error:
                if error.errno in (98, 13):
                    return False
    return True


def free_port(avoid: Sequence[int] = ()) -> int:
    """Returns a random free port, none of ``avoid`` (ports of earlier attempts). Raises RendezvousError."""
    ports = [port for port in candidates(ephemeral_range()) if port not in avoid]
    random.SystemRandom().shuffle(ports)
    for port in ports[:200]:
        if is_free(port):
            return port
    raise RendezvousError("no free TCP port: 200 ports from 20000 on are all in use")


def interface_address(name: str) -> str:
    """Returns the IPv4 address of a network interface. Raises RendezvousError naming those that exist."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            answer = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
        except OSError as error:
            known = ", ".join(sorted(entry for _, entry in socket.if_nameindex()))
            raise RendezvousError(
                f"interface {name!r} has no IPv4 address ({error.strerror}); this host has {known}: "
                "set deepep_master_interface to one of them"
            ) from error
    return socket.inet_ntoa(answer[20:24])


def is_local(address: str) -> bool:
    """Returns whether an IPv4 address is one of this host's: whether it can be bound."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def addresses() -> list[str]:
    """Returns the first IPv4 address of each interface, for messages."""
    found = []
    for _, name in socket.if_nameindex():
        try:
            found.append(f"{interface_address(name)} ({name})")
        except RendezvousError:
            continue
    return found


def route_source() -> str | None:
    """Returns the IPv4 address from which this host would leave for elsewhere; None without a route."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Connecting a datagram socket sends nothing; the address is one reserved for documentation.
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        return str(probe.getsockname()[0])


def ssh_address(environments: Iterable[Mapping[str, str]] | None = None) -> str | None:
    """Returns the IPv4 address by which this host was reached over SSH, if it was.

    ``environments``: this process's and, since sudo hides how we got here, those of the processes above it.
    """
    for environment in processes.environments_above() if environments is None else environments:
        fields = environment.get("SSH_CONNECTION", "").split()
        if len(fields) == 4 and ":" not in fields[2]:
            return fields[2]
    return None


def only_address() -> str | None:
    """Returns the IPv4 address of the one interface that has one; None otherwise.

    The loopback and bridges do not count: docker and podman give every host the same bridge.
    """
    found = []
    for _, name in socket.if_nameindex():
        if name != "lo" and not Path("/sys/class/net", name, "bridge").exists():
            try:
                found.append(interface_address(name))
            except RendezvousError:
                continue
    return found[0] if len(found) == 1 else None


def not_local(address: str, known: Sequence[str]) -> str:
    """Returns what is wrong with an address that is not this host's."""
    return f"deepep_master_address {address} is no address of this host, which has {', '.join(known)}"


def master_address(interface: str | None, one_machine: bool, named: str = "") -> str:
    """Returns the address by which the other hosts of a run find this one. Raises RendezvousError.

    The address that the inventory names, which must be this host's; else that of the interface that it names;
    else the loopback where all hosts are one machine; else the address by which we got here; else the source
    address of the default route; else the only one there is (a cluster's network may have no default route).
    """
    if named:
        if not is_local(named):
            raise RendezvousError(not_local(named, addresses()))
        return named
    if interface:
        return interface_address(interface)
    if one_machine:
        return "127.0.0.1"
    address = ssh_address() or route_source() or only_address()
    if address is None:
        raise RendezvousError("this host has no address that others could reach: set deepep_master_interface")
    return address
