"""The key-value store that torch.distributed has anyway: control data between ranks, never the payload."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from .world import World


def connect(world: World, timeout_s: float, serve: bool = True) -> Any:
    """A client of the job's store (rank 0 serves it where torchrun's agent does not).

    :raises RuntimeError: from torch, when nobody answers within the timeout
    """
    import torch.distributed as dist

    store = dist.TCPStore(
        world.master_addr,
        world.master_port,
        world_size=None,
        is_master=serve and world.rank == 0 and not world.agent_hosts_store,
        timeout=timedelta(seconds=timeout_s),
        wait_for_workers=False,
    )
    return dist.PrefixStore(f"deepep_bench/{world.attempt}", store)


def gather(store: Any, world: World, tag: str, value: Any) -> list[Any]:
    """Every rank's value on rank 0, in rank order; an empty list elsewhere. Each tag once."""
    store.set(f"gather/{tag}/{world.rank}", json.dumps(value))
    if world.rank:
        return []
    return [json.loads(store.get(f"gather/{tag}/{rank}")) for rank in range(world.size)]


def exchange(store: Any, world: World, tag: str, value: Any) -> list[Any]:
    """Every rank's value on every rank, in rank order. Each tag once."""
    store.set(f"exchange/{tag}/{world.rank}", json.dumps(value))
    return [json.loads(store.get(f"exchange/{tag}/{rank}")) for rank in range(world.size)]


def wait_for_all(store: Any, world: World, tag: str) -> None:
    """Returns when every rank has called it. Each tag once."""
    if store.add(f"all/{tag}", 1) == world.size:
        store.set(f"all/{tag}/there", "1")
    store.wait([f"all/{tag}/there"])
