"""Command line."""

from __future__ import annotations

import argparse
import socket
import time
from dataclasses import replace
from pathlib import Path

from . import exit_codes
from .config import check_for_world, load_config
from .errors import RefusedError
from .plain import say
from .world import World, world_from_environment

_LET_THE_FIRST_SPEAK_S = 30
_OVERRIDABLE = (
    "seed",
    "probe_links",
    "heartbeat_interval_s",
    "heartbeat_timeout_s",
    "stall_timeout_s",
    "process_group_timeout_s",
)


def main(argv: list[str]) -> int:
    """Exit code of this rank (exit_codes.py); failures after the start exit the process themselves."""
    arguments = _parser().parse_args(argv)
    overrides: dict[str, str] = {
        key: value for key in _OVERRIDABLE for value in [getattr(arguments, key)] if value
    }
    try:
        world = _with_port(world_from_environment())
    except RefusedError as error:
        say(0, f"refused: {error}")
        return exit_codes.REFUSED
    try:
        config = load_config(arguments.config, overrides)
        check_for_world(config, world.size)
        # torch only now: a wrong file is told at once
        from .backends import backend_class
        from .faults import Faults

        backend_class(config.backend)
        Faults(world.rank)
    except RefusedError as error:
        if world.local_rank:
            # every rank of a host reads the same file: the first one speaks, and its end ends the others
            time.sleep(_LET_THE_FIRST_SPEAK_S)
        say(world.rank, f"refused: {error}")
        return exit_codes.REFUSED

    from .session import run

    run(config, world, arguments.output_dir)
    return exit_codes.OK


def _parser() -> argparse.ArgumentParser:
    codes = "\n".join(f"  {code:3d}  {meaning}" for code, meaning in exit_codes.MEANINGS.items())
    parser = argparse.ArgumentParser(
        prog="deepep_bench",
        description="Dispatch and combine of a mixture-of-experts layer: checked, then timed.\n"
        "Start it with torchrun, one process per rank.",
        epilog=f"exit codes of a rank (torchrun itself ends with 1 when a rank fails):\n{codes}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="config.yaml")
    parser.add_argument(
        "--output-dir",
        type=Path,
        required=True,
        metavar="DIR",
        help="gets results/, ranks/, markers/, traces/",
    )
    for key in _OVERRIDABLE:
        parser.add_argument(
            f"--{key.replace('_', '-')}", dest=key, metavar="N", help=f"instead of the file's {key}"
        )
    return parser


def _with_port(world: World) -> World:
    """A single process without torchrun serves its own store on a free port."""
    if world.master_port or world.size > 1:
        return world
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return replace(world, master_port=probe.getsockname()[1])
