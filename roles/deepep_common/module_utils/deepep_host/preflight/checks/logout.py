"""What ends with a login: systemd-logind may end a run with the SSH connection that started it.

A supervisor stays in the scope of the session that started it. While it lives there logind keeps the user's
service manager and /run/user/UID, also without lingering; and where KillUserProcesses ends the scope,
lingering saves nothing in it (logind's session_stop_scope and user_may_gc; seen with systemd 252).
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ..machine import LOGIND, SYSTEMD, Machine, Wanted
from ..model import WARN, Outcome, ok, unknown, warn

_SESSION = re.compile(r"/user-(\d+)\.slice/session-[^/\n]+\.scope")
_MANAGER = re.compile(r"/user-(\d+)\.slice/user@\d+\.service")


class _Killing(NamedTuple):
    """What logind does at the end of a session."""

    on: bool
    only: list[str]
    never: list[str]

    def hits(self, name: str) -> bool:
        """Whether it ends what a user left; root is left alone where nobody is named, as by default."""
        if name in (self.never or ["root"]):
            return False
        return name in self.only if self.only else self.on


def logout(machine: Machine, wanted: Wanted) -> Outcome:
    """Whether a run outlives the login that started it, where a controller is lost or connects anew."""
    if not machine.probe.exists(SYSTEMD):
        return ok("systemd does not run this host")
    groups = machine.probe.read("/proc/self/cgroup")
    if groups is None:
        return unknown("/proc/self/cgroup cannot be read")
    session, manager = _SESSION.search(groups), _MANAGER.search(groups)
    if session:
        outcome = _of_session(machine, _name(machine, session.group(1)))
    elif manager:
        outcome = _of_manager(machine, _name(machine, manager.group(1)))
    else:
        outcome = ok("this is no login of systemd's")
    directory = _runtime_directory(machine, session or manager)
    if directory is None or outcome.result == WARN:
        return outcome  # a run that ends is worse than a directory that goes
    return directory


def _of_session(machine: Machine, name: str) -> Outcome:
    said = machine.probe.ask(*LOGIND)
    killing = _parse(said.out) if said.code == 0 else None
    if killing is None:
        why = (said.error.strip() or "its answer is not known").splitlines()[0]
        return unknown(
            f"systemd-logind does not say whether it ends what a login left running: {why}",
            "look for KillUserProcesses= with: systemd-analyze cat-config systemd/logind.conf",
        )
    if killing.hits(name):
        return warn(
            f"systemd-logind ends what {name} left running once the SSH connection ends that started it "
            "(KillUserProcesses=): where the controller or the connection is lost, a run ends too"
        )
    return ok(f"what {name} left running stays after a login's end")


def _of_manager(machine: Machine, name: str) -> Outcome:
    if _lingers(machine, name):
        return ok(f"what {name}'s service manager runs stays: {name} lingers")
    return warn(
        f"what {name}'s service manager runs, as this, ends with {name}'s last login, and a run with it",
        f"loginctl enable-linger {name}",
    )


def _runtime_directory(machine: Machine, login: re.Match[str] | None) -> Outcome | None:
    """Looks for another user's than the login's (become): nothing of a run's keeps that one's directory."""
    ids = re.search(r"^Uid:\s+\d+\s+(\d+)", machine.probe.read("/proc/self/status") or "", re.MULTILINE)
    own = ids.group(1) if ids else "0"
    if own == "0" or (login and login.group(1) == own) or not machine.probe.exists(f"/run/user/{own}"):
        return None
    name = _name(machine, own)
    if _lingers(machine, name):
        return None
    return warn(
        f"/run/user/{own} is there for another login of {name}, and goes with it: what rootless podman and "
        "the credentials for images have there would go while they are in use",
        f"loginctl enable-linger {name}",
    )


def _lingers(machine: Machine, name: str) -> bool:
    return machine.probe.exists(f"/var/lib/systemd/linger/{name}")


def _name(machine: Machine, uid: str) -> str:
    return machine.probe.ask("id", "-un", uid).out.strip() or uid


def _parse(text: str) -> _Killing | None:
    """Reads busctl's three properties: ``b false``, ``as 0``, ``as 2 "plain" "root"``."""
    lines = text.splitlines()
    if len(lines) != 3 or lines[0] not in ("b true", "b false"):
        return None
    only, never = (re.findall(r'"([^"]*)"', line) for line in lines[1:])
    return _Killing(lines[0] == "b true", only, never)
