"""Configurations and worlds for the unit tests."""

from typing import Any

from deepep_bench.config import Config
from deepep_bench.world import World


def config(**changes: Any) -> Config:
    values: dict = {
        "tokens": 24,
        "num_experts": 16,
        "num_topk": 4,
        "hidden_size": 256,
        "data_type": "bfloat16",
        "mode": "standard",
        "backend": "gloo",
        "num_warmups": 0,
        "num_iterations": 1,
        "seed": 3,
    }
    values.update(changes)
    return Config(**values)


def world(rank: int = 0, size: int = 4, local_size: int = 2) -> World:
    return World(
        rank=rank,
        size=size,
        local_rank=rank % local_size,
        local_size=local_size,
        host=f"node{rank // local_size}",
        master_addr="127.0.0.1",
        master_port=0,
        agent_hosts_store=False,
        attempt="0",
    )
