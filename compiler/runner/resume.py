"""Going on with a session: what of it is lost, what is to be repeated, and with which bundle."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compiler.emit.bundle import BundleInUseError, emit_bundle
from compiler.inventory.model import Inventory
from compiler.plan.model import Plan
from compiler.resources import host_code

host_code()

from deepep_host.plan_diff import differences  # noqa: E402 - found by the line above
from deepep_host.session import COMPLETED, find_session, playing  # noqa: E402

POLL_S = 1.0
_MOST_SHOWN = 20


class CannotResumeError(Exception):
    """The session cannot be gone on with; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How the runs of a session stand: verdicts so far, and runs of which more may be on the hosts.

    ``ended_at``: when the session was closed, None where nobody did. ``leaked``: whether a secret was found
    in its results then.
    """

    verdicts: Mapping[str, str]
    unsettled: tuple[str, ...]
    ended_at: str | None
    leaked: bool

    @property
    def completed(self) -> frozenset[str]:
        """The runs after which others may start."""
        return frozenset(run for run, verdict in self.verdicts.items() if verdict in COMPLETED)

    @property
    def passed(self) -> frozenset[str]:
        """The runs that need no repetition."""
        return frozenset(run for run, verdict in self.verdicts.items() if verdict == "PASS")


def plan_of(session: Path) -> Plan:
    """Returns the plan that a session was opened with. Raises CannotResumeError."""
    return _plan(session / "plan.json")


def plan_of_bundle(session: Path, bundle: Path) -> Plan:
    """Returns the plan of a session's bundle, which must still be that of the session.

    Raises CannotResumeError.
    """
    if not (bundle / "plan.json").is_file():
        raise CannotResumeError(
            f"the session's bundle {bundle} is gone: name the scenario and the inventory again, "
            "run SCENARIO -i INVENTORY --resume RESULTS"
        )
    plan = _plan(bundle / "plan.json")
    refuse_changes(session, plan)
    return plan


def refuse_changes(session: Path, plan: Plan) -> None:
    """Raises CannotResumeError, with what differs, where a plan is not that of the session."""
    changed = differences(_read(session / "plan.json"), plan.to_json())
    if changed:
        more = [f"and {len(changed) - _MOST_SHOWN} more"] if len(changed) > _MOST_SHOWN else []
        lines = "".join(f"\n  {line}" for line in [*changed[:_MOST_SHOWN], *more])
        raise CannotResumeError(
            f"{session} holds results of another plan:{lines}\n"
            "What is kept and what is repeated would not belong together: start a new session without "
            "--resume, or undo the changes"
        )


def standing(session: Path) -> Standing:
    """Returns how the runs of a session stand."""
    found = find_session(session)
    runs = found.plan()["runs"]
    verdicts = {run["id"]: verdict for run in runs if (verdict := found.verdict(run["id"]))}
    unsettled = tuple(run["id"] for run in runs if found.unsettled(run))
    described = found.describe()
    leaked = bool((described.get("secret_scan") or {}).get("hits"))
    return Standing(verdicts, unsettled, described.get("ended_at"), leaked)


def wait_until_free(session: Path, tell: Callable[[str], None]) -> None:
    """Returns once nobody plays the session any more."""
    told = False
    while other := playing(session):
        if not told:
            tell(
                f"the session is still being played by {other}: waiting for its end (Ctrl-C leaves it alone)"
            )
            told = True
        time.sleep(POLL_S)


def emit_once_free(
    plan: Plan, inventory: Inventory | Path, bundle: Path, tell: Callable[[str], None]
) -> None:
    """Writes a session's bundle once nobody plays it any more. Raises ForeignFolderError, OSError.

    ``status``, ``logs -f`` and ``stop`` do, without playing the session, see ``wait_until_free``.
    """
    told = False
    while True:
        try:
            emit_bundle(plan, inventory, bundle)
        except BundleInUseError as busy:
            if not told:
                tell(f"{busy}: waiting for its end (Ctrl-C leaves it alone)")
                told = True
            time.sleep(POLL_S)
        else:
            return


def _plan(path: Path) -> Plan:
    try:
        return Plan.from_json(_read(path))
    except (KeyError, TypeError, ValueError) as error:
        raise CannotResumeError(f"{path} is no plan of this version: {error}") from error


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CannotResumeError(f"{path} cannot be read: {error}") from error
    if not isinstance(data, dict):
        raise CannotResumeError(f"{path} holds no plan")
    return data
