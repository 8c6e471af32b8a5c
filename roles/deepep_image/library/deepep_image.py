#!/usr/bin/python
"""Gets one image onto this host: resolve, begin, fetch, look, close."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.deepep_host import rendezvous
from ansible.module_utils.deepep_host.image import chunks, steps, store
from ansible.module_utils.deepep_host.registry import Login, RegistryError
from ansible.module_utils.deepep_host.state import (
    WorkDirError,
    ensure_work_dir,
    host_dir,
    resolve_work_dir,
)

DOCUMENTATION = """
module: deepep_image
short_description: Get one image onto this host
description: Called by the action plugin of the same name. What it is told may hold credentials, so it is told
  on standard input alone (pipelining) and never logged.
options:
  verb: {description: What to do., type: str, required: true}
  told: {description: The arguments of the verb as JSON., type: str, required: true}
author: deepep-compiler authors
"""


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "verb": {"type": "str", "required": True},
            "told": {"type": "str", "required": True, "no_log": True},
        },
        no_log=True,
    )
    told = json.loads(module.params["told"])
    try:
        answer = _answer(module.params["verb"], told)
    except RegistryError as error:
        module.exit_json(changed=False, refused={"code": error.code, "text": str(error)})
    except (WorkDirError, rendezvous.RendezvousError, OSError, ValueError) as error:
        module.fail_json(msg=str(error))
    else:
        module.exit_json(**answer)


def _answer(verb: str, told: dict[str, Any]) -> dict[str, Any]:
    work_dir = resolve_work_dir(told["work_dir"])
    ensure_work_dir(work_dir)
    base = host_dir(work_dir, told["run_id"], told["host"])
    folder = store.directory(work_dir, told["cache_dir"])
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
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
            job["address"] = rendezvous.master_address(told["interface"], told["one_machine"])
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


if __name__ == "__main__":
    main()
