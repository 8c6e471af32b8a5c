"""Examines the host it runs on, without Ansible: ``python3 -m deepep_host.preflight [options]``.

``--record DIR`` keeps everything that the checks saw, so that a machine that this project has never met can
be looked at elsewhere: ``--replay DIR`` examines such a recording.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from . import examine, table
from .needs import NEEDS
from .probe import Probe, Recorded, Recorder


def main() -> int:
    """Prints the table, or with ``--json`` everything; returns 0, or 1 where a check failed."""
    parser = argparse.ArgumentParser(
        prog="python3 -m deepep_host.preflight", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--needs", default="host,peers,gpu,nvlink,rdma,ibgda", help=f"of {', '.join(NEEDS)}")
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--runtime", action="append", default=[], help="docker, podman or enroot")
    parser.add_argument("--python", default="", help="interpreter with torch (needs torch)")
    parser.add_argument(
        "--env", action="append", default=[], metavar="NAME=VALUE", help="environment of the tests"
    )
    parser.add_argument("--record", type=Path, metavar="DIR")
    parser.add_argument("--replay", type=Path, metavar="DIR")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    probe = Recorded(args.replay) if args.replay else Recorder(args.record) if args.record else Probe()
    wanted = {
        "needs": args.needs.split(","), "gpus": args.gpus, "runtimes": args.runtime, "python": args.python,
        "environment": dict(item.partition("=")[::2] for item in args.env),
    }  # fmt: skip
    found = examine(wanted, probe)
    print(json.dumps(found, indent=1) if args.json else "\n".join(table({probe.hostname(): found})))
    return 1 if found["result"] == "fail" else 0


if __name__ == "__main__":
    raise SystemExit(main())
