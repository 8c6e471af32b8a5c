"""What the controller asks a host about an image: one function, for Ansible's module and for verb.py."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import lease, rendezvous
from ..registry import Login, RegistryError
from ..state import WorkDirError, ensure_work_dir, host_dir, resolve_work_dir
from . import chunks, steps, store


def perform(given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the answer to ``given["verb"]`` with its arguments in ``given["told"]`` (JSON).

    ``refused`` holds a registry's no; ``{"failed": True, "msg"}`` says that this host cannot do it.
    """
    try:
        return _answer(str(given["verb"]), json.loads(given["told"]))
    except RegistryError as error:
        return {"changed": False, "refused": {"code": error.code, "text": str(error)}}
    except (WorkDirError, rendezvous.RendezvousError, OSError, ValueError) as error:
        return {"failed": True, "msg": str(error)}


def _answer(verb: str, told: dict[str, Any]) -> dict[str, Any]:
    work_dir = resolve_work_dir(told["work_dir"])
    ensure_work_dir(work_dir)
    base = host_dir(work_dir, told["run_id"], told["host"])
    folder = store.directory(work_dir, told["cache_dir"])
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    lease.renew(base)
    if verb == "renew":
        return {"changed": False}
    if verb == "machine":
        return {"changed": False, "machine": platform.machine()}
    if verb == "cached":
        return {"changed": False, "spec": steps.cached(folder, told["reference"], told["runtime"])}
    if verb == "resolve":
        login = Login(**told["login"])
        spec = steps.resolve(folder, told["reference"], told["runtime"], login, told["pull_with"])
        return {"changed": False, "spec": spec}
    if verb == "begin":
        return {"changed": False, **steps.begin(base, folder, told["spec"], told["may_pull"], told["keep"])}
    if verb == "fetch":
        job = dict(told["job"])
        if job["secrets"]:
            job["address"] = rendezvous.master_address(
                told["interface"], told["one_machine"], told["address"]
            )
        return {"changed": True, "state": steps.fetch(base, folder, job)}
    if verb == "look":
        return {"changed": False, "state": steps.look(base, told["key"], told["seen"], told["wait_s"])}
    if verb == "where":
        return {"changed": False, "path": str(folder / told["name"])}
    if verb == "close":
        return {"changed": steps.close(base, folder, told["spec"], told["keep"])}
    return _carry(verb, told, folder)


def _carry(verb: str, told: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The way through the controller where it cannot copy a file by itself."""
    if verb == "put":
        path = chunks.incoming(folder, told["name"])
        return {"changed": True, "path": str(path), "size": chunks.put(path, told["offset"], told["data"])}
    if verb == "get":
        return {"changed": False, "data": chunks.get(Path(told["path"]), told["offset"], told["size"])}
    raise ValueError(f"unknown verb {verb!r}")
