"""Who this process is among the ranks: from the environment that torchrun sets."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import Mapping

from .errors import RefusedError


@dataclass(frozen=True)
class World:
    """This rank's place. ``host`` is the inventory's name where the launcher gave it."""

    rank: int
    size: int
    local_rank: int
    local_size: int
    host: str
    master_addr: str
    master_port: int
    agent_hosts_store: bool  # torchrun's agent on the first host owns the store; else rank 0 does
    attempt: str  # torchrun's restart count: keys of an earlier attempt must not be read

    @property
    def num_hosts(self) -> int:
        return self.size // self.local_size


def world_from_environment(environ: Mapping[str, str] = os.environ) -> World:
    """Place of this process; alone (1 rank) when torchrun did not start it.

    :raises RefusedError: a variable is missing or no number
    """

    def number(name: str, default: str) -> int:
        text = environ.get(name, default)
        if not text.isdigit():
            raise RefusedError(f"environment variable {name}={text!r} is no number: start this with torchrun")
        return int(text)

    world = World(
        rank=number("RANK", "0"),
        size=number("WORLD_SIZE", "1"),
        local_rank=number("LOCAL_RANK", "0"),
        local_size=number("LOCAL_WORLD_SIZE", "1"),
        host=environ.get("DEEPEP_HOST") or socket.gethostname(),
        master_addr=environ.get("MASTER_ADDR", "127.0.0.1"),
        master_port=number("MASTER_PORT", "0"),
        agent_hosts_store=environ.get("TORCHELASTIC_USE_AGENT_STORE", "").lower() == "true",
        attempt=environ.get("TORCHELASTIC_RESTART_COUNT", "0"),
    )
    if world.size % world.local_size:
        raise RefusedError(f"{world.size} ranks are no multiple of the {world.local_size} ranks of this host")
    return world
