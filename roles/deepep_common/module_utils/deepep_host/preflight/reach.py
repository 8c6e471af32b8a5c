"""Whether the hosts of a run reach its first host by TCP, before a rendezvous waits for it in vain.

The first host of each run leaves a listener behind when it is examined; the others connect when they are
staged, a step that comes anyway. A listener ends once all others have come, when its session ends or is
stopped, or after its lifetime.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from ..rendezvous import RendezvousError, free_port, master_address
from .model import FAIL, PASS, UNKNOWN, entry, worst

if TYPE_CHECKING:
    from ..session import Session

LIFETIME_S = 1800
PATIENCE_S = 5.0
NAME, ITEM = "bootstrap", "P18"
REMEDY = "open the firewall between the hosts, or set deepep_master_interface or deepep_master_address"

_LISTENER = """
import os, selectors, socket, sys, time
word, expected, lifetime, wanted = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
sockets = []
for port in (wanted, 0):
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        one.bind(("", port))
    except OSError:
        one.bind(("", 0))
    one.listen(512)
    sockets.append(one)
print(*(one.getsockname()[1] for one in sockets), flush=True)
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
chooser = selectors.DefaultSelector()
for one in sockets:
    chooser.register(one, selectors.EVENT_READ)
end = time.monotonic() + lifetime
while expected > 0 and time.monotonic() < end:
    for key, _ in chooser.select(min(60, max(0, end - time.monotonic()))):
        peer = key.fileobj.accept()[0]
        peer.settimeout(2)
        try:
            peer.sendall(word.encode() + b"\\n")
            expected -= peer.recv(16) == b"seen\\n"
        except OSError:
            pass
        peer.close()
"""
"""Says ``word`` to everyone who connects; a peer that answers is counted off."""


def listen(
    run_id: str,
    host: str,
    interface: str,
    one_machine: bool,
    peers: int,
    lifetime_s: float = LIFETIME_S,
    named: str = "",
) -> dict[str, Any]:
    """Leaves a listener running on this host; returns ``address, ports, word, until``, or ``problem``.

    The first port is one that a rendezvous could get, the second one of the kernel's own range. The process
    carries the session's marks, so that a cleanup ends it.
    """
    word = f"deepep {run_id} {host}"
    try:
        address = master_address(interface or None, one_machine, named)
        port = free_port()
    except RendezvousError as error:
        return {"problem": str(error)}
    process = subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-I", "-c", _LISTENER, word, str(2 * peers), str(lifetime_s), str(port)],
        cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        start_new_session=True, env={**os.environ, "DEEPEP_RUN_ID": run_id, "DEEPEP_HOST": host},
    )  # fmt: skip
    with process.stdout or open(os.devnull, "rb") as stream:  # noqa: PTH123 - never the second one
        ports = [int(text) for text in stream.readline().split()]
    if len(ports) != 2:
        return {"problem": f"the listener on {host} did not start"}
    return {"address": address, "ports": ports, "word": word, "until": time.time() + lifetime_s}


def connect(listeners: Sequence[Mapping[str, Any]], patience_s: float = PATIENCE_S) -> list[dict[str, Any]]:
    """Returns for each listener ``{"host", "problems"}``; a problem says why a port was not reached."""
    pairs = [(one, port) for one in listeners for port in one["ports"]]
    if not pairs:
        return []
    with ThreadPoolExecutor(min(32, len(pairs))) as pool:
        texts = list(pool.map(lambda pair: _problem(pair[0], pair[1], patience_s), pairs))
    found: dict[str, list[str]] = {str(one["host"]): [] for one in listeners}
    for (one, _), text in zip(pairs, texts):
        if text:
            found[str(one["host"])].append(text)
    return [{"host": host, "problems": problems} for host, problems in found.items()]


def _problem(listener: Mapping[str, Any], port: int, patience_s: float) -> str | None:
    where = f"{listener['address']}:{port}"
    try:
        with socket.create_connection((listener["address"], port), timeout=patience_s) as peer:
            answer = peer.makefile("rb").readline(256).decode("utf-8", "replace").strip()
            peer.sendall(b"seen\n")
    except socket.timeout:
        return f"{where} does not answer within {patience_s:.0f} s"
    except OSError as error:
        return f"{where}: {error.strerror or error}"
    return None if answer == listener["word"] else f"{where} is answered by another program ({answer[:40]!r})"


# ---- on the controller ----


def listeners(session: Session, plan: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Returns the listeners that first hosts have left, by host."""
    found = {head: (session.preflight(head) or {}).get("listener") for head in heads(plan)}
    return {head: listener for head, listener in found.items() if listener}


def keep(session: Session, plan: Mapping[str, Any], host: str, answers: Iterable[Mapping[str, Any]]) -> None:
    """Adds what ``host`` reached to its preflight, where there was one."""
    found = session.preflight(host)
    if found is not None:
        checks = [*found["checks"], *judge(plan, host, listeners(session, plan), answers)]
        session.keep_preflight(host, {**found, "checks": checks, "result": worst(checks)})


def heads(plan: Mapping[str, Any]) -> dict[str, dict[str, list[str]]]:
    """Returns first host -> other host -> ids of the runs that they have in common."""
    found: dict[str, dict[str, list[str]]] = {}
    for run in plan["runs"]:
        head, *others = (member["name"] for member in run["hosts"])
        for other in others:
            found.setdefault(head, {}).setdefault(other, []).append(run["id"])
    return found


def targets(
    plan: Mapping[str, Any], host: str, listeners: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Returns the listeners that ``host`` has to reach; ``listeners``: by first host, where there is one."""
    return [
        {"host": head, **{name: listeners[head][name] for name in ("address", "ports", "word")}}
        for head, others in heads(plan).items()
        if host in others and "ports" in listeners.get(head, {})
    ]


def judge(
    plan: Mapping[str, Any],
    host: str,
    listeners: Mapping[str, Mapping[str, Any]],
    answers: Iterable[Mapping[str, Any]],
    now: float | None = None,
) -> list[dict[str, Any]]:
    """Returns the preflight's lines about what ``host`` reaches, for the runs that it concerns."""
    lines = []
    runs = {head: others[host] for head, others in heads(plan).items() if host in others}
    said = {str(answer["host"]): answer["problems"] for answer in answers}
    for head, concerned in runs.items():
        listener = listeners.get(head, {})
        if head not in said:
            why = listener.get("problem") or f"{head} left no listener"
            lines.append(_line(UNKNOWN, f"not checked: {why}", "", concerned))
        elif not said[head]:
            ports = " and ".join(map(str, listener["ports"]))
            lines.append(
                _line(PASS, f"reaches {head} at {listener['address']}, ports {ports}", "", concerned)
            )
        elif (time.time() if now is None else now) > float(listener["until"]):
            lines.append(_line(UNKNOWN, f"not checked: the listener on {head} had ended", "", concerned))
        else:
            lines.append(_line(FAIL, f"does not reach {head}: {', '.join(said[head])}", REMEDY, concerned))
    return lines


def _line(result: str, text: str, remedy: str, runs: Iterable[str]) -> dict[str, Any]:
    return entry(NAME, result, text, remedy, ITEM, ("peers",), runs)
