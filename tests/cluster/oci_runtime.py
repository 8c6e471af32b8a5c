#!/usr/bin/python3
"""An OCI runtime for machines whose root has no CAP_SYS_RESOURCE: crun, without resource limits.

There any ``--ulimit`` above the hard limit fails. What was dropped is kept as an annotation of the container.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

DROPPED = "lab.dropped-rlimits"


def value(arguments: "list[str]", *names: str) -> "str | None":
    """Returns the value of an option, given as ``NAME VALUE`` or ``NAME=VALUE``."""
    for index, argument in enumerate(arguments):
        for name in names:
            if argument == name and index + 1 < len(arguments):
                return arguments[index + 1]
            if argument.startswith(name + "="):
                return argument.split("=", 1)[1]
    return None


def without_limits(process: "dict[str, Any]") -> Any:
    """Takes limits and the capability out of a process description; returns the limits."""
    for names in (process.get("capabilities") or {}).values():
        if "CAP_SYS_RESOURCE" in names:
            names.remove("CAP_SYS_RESOURCE")
    return process.pop("rlimits", None)


def main(arguments: "list[str]") -> None:
    """Changes the bundle, then becomes crun."""
    if "create" in arguments or "run" in arguments:
        path = Path(value(arguments, "-b", "--bundle") or ".") / "config.json"
        config = json.loads(path.read_text())
        config.setdefault("annotations", {})[DROPPED] = json.dumps(without_limits(config["process"]))
        path.write_text(json.dumps(config))
    elif "exec" in arguments:
        name = value(arguments, "-p", "--process")
        if name:
            process = json.loads(Path(name).read_text())
            without_limits(process)
            Path(name).write_text(json.dumps(process))
    os.execv("/usr/bin/crun", ["crun", *arguments])


if __name__ == "__main__":
    main(sys.argv[1:])
