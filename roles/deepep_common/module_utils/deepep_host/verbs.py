"""What a host is asked about runs, one function per verb: the same for Ansible's modules and verb.py."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from . import control, lease
from .files import read_json
from .launch import LaunchError
from .lock import HostInUse
from .look import look as look_at
from .packing import offer, pack_parts
from .rendezvous import RendezvousError, free_port, master_address
from .state import OtherUserError, host_dir, refuse_foreign, resolve_work_dir, run_dir

LONGEST_WAIT_S = 15.0
INLINE_BYTES = 1024 * 1024
"""Files of a run come with the answer if they are no larger."""


def perform(verb: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the answer to ``verb``; ``{"failed": True, "msg"}`` where this host cannot do it.

    ``other_user`` is in it where that is because the session is another user's.
    """
    try:
        return VERBS[verb](given)
    except OtherUserError as error:
        return {"failed": True, "msg": str(error), "other_user": True}
    except (control.Refused, HostInUse, LaunchError, RendezvousError, OSError, ValueError) as error:
        return {"failed": True, "msg": str(error)}


def _base(given: Mapping[str, Any]) -> Path:
    """Returns the session's directory here. Raises OtherUserError."""
    work_dir = resolve_work_dir(given.get("work_dir"))
    refuse_foreign(work_dir)
    return host_dir(work_dir, given["run_id"], given["host"])


def start(given: Mapping[str, Any]) -> dict[str, Any]:
    """Leaves the supervisor of a run running and returns its first state."""
    base = _base(given)
    lease.retake(base)
    state = control.start(
        base,
        resolve_work_dir(given.get("work_dir")),
        given["run"],
        given["master_addr"],
        int(given["master_port"]),
        given.get("python") or "",
        given.get("jit_cache_dir") or "",
    )
    launch = read_json(run_dir(base, given["run"]) / "launch.json") or {}
    shown = ("node_rank", "argv", "cwd", "env", "unset_variables", "container")
    return {"changed": True, "state": state, "launch": {name: launch.get(name) for name in shown}}


def state(given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the state of a run once it has ended, or after ``wait_s``."""
    wait_s = min(float(given.get("wait_s") or 0), LONGEST_WAIT_S)
    base = _base(given)
    lease.renew(base)
    return {"changed": False, "state": control.wait_for_end(run_dir(base, given["run"]), wait_s)}


def stop(given: Mapping[str, Any]) -> dict[str, Any]:
    """Ends one run, or all of the session, which then gives the host back."""
    base = _base(given)
    stopped, states = control.stop_runs(base, given.get("run") or "", given["cause"])
    if not given.get("run"):
        # What belongs to no run: a preflight's listener, the transfer of an image.
        control.end_marked(given["run_id"], given["host"])
        lease.release(base)
    return {"changed": bool(stopped), "stopped": stopped, "runs": states}


def pack(given: Mapping[str, Any]) -> dict[str, Any]:
    """Says what a run has written, or packs those ``parts`` of it that are asked for by ``index``."""
    base = _base(given)
    lease.renew(base)
    where = (base, given["run"], int(given.get("limit_bytes") or 0))
    if given.get("index"):
        return {
            "changed": True,
            **pack_parts(*where, given["index"], given["parts"], bool(given.get("inline"))),
        }
    offered = offer(*where, int(given.get("inline_bytes") or INLINE_BYTES))
    return {"changed": offered["state"] is not None, **offered}


def look(given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns state and new log lines of runs that are under way."""
    base = _base(given)
    return {"changed": False, "runs": {run: look_at(base, run, have) for run, have in given["runs"].items()}}


def rendezvous(given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns an address of this host and a port that is free on it."""
    address = master_address(
        given.get("interface") or None, bool(given.get("one_machine")), given.get("address") or ""
    )
    return {"changed": False, "address": address, "port": free_port(given.get("avoid") or ())}


def image(given: Mapping[str, Any]) -> dict[str, Any]:
    """Gets an image here, step by step."""
    # What it needs takes a while to load, and no other verb needs it.
    from .image.requests import perform as perform_image

    return perform_image(given)


def content(given: Mapping[str, Any]) -> dict[str, Any]:
    """Looks into an image that was staged here."""
    from .preflight.image import look as look_into

    base = _base(given)
    with lease.held(base):
        found = look_into(
            base,
            resolve_work_dir(given.get("work_dir")),
            given["run"],
            given.get("python") or "",
            given.get("jit_cache_dir") or "",
            json.loads(given["asked"]),
            float(given["timeout_s"]),
        )
    return {"changed": False, **found}


VERBS: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "start": start,
    "state": state,
    "stop": stop,
    "pack": pack,
    "look": look,
    "rendezvous": rendezvous,
    "image": image,
    "content": content,
}
