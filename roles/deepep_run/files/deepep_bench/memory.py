"""Whether a run can fit into memory, before anything is made: its tensors, and what DeepEP takes."""

from __future__ import annotations

from pathlib import Path

import torch

from .config import Config
from .errors import RefusedError
from .tokens import POOL_VALUES
from .world import World


def bytes_needed(config: Config, world: World) -> int:
    """About what one rank touches: inputs, what it sends and receives, the experts' results, the sum.

    Slots that stay empty cost nothing on a CPU; GPUs reserve them.
    """
    row = 2 * config.hidden_size
    copies = config.num_topk if config.mode == "low_latency" else min(config.num_topk, world.size)
    moved = config.tokens * copies * row
    slots = config.num_experts * config.tokens * row if config.mode == "low_latency" else 0
    # beside its own, a DeepEP run holds the slots of captured calls and of the baselines
    reserved = {"gloo": 0, "nccl": 2 * slots}.get(config.backend, 8 * slots)
    return 2 * (POOL_VALUES + config.hidden_size) * 5 + 4 * moved + 4 * config.tokens * row + reserved


def free_bytes(device: torch.device) -> int | None:
    """Free memory of a GPU; None for a CPU, or where nobody says (after a fault of the device, for one)."""
    if device.type != "cuda":
        return None
    try:
        return int(torch.cuda.mem_get_info(device)[0])
    except RuntimeError:
        return None


def bytes_free(config: Config, world: World) -> int | None:
    """Free memory for one rank: of its GPU, or its share of the host; None where nobody says."""
    if config.backend != "gloo" and torch.cuda.is_available():
        return free_bytes(torch.device("cuda", world.local_rank))
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024 // world.local_size
    return None


def refuse_unless_it_fits(config: Config, world: World, buffer_bytes: int = 0) -> None:
    """buffer_bytes: what DeepEP will take beside the tensors, 0 while that is not known.

    :raises RefusedError: bytes wanted and free
    """
    needed, free = bytes_needed(config, world) + buffer_bytes, bytes_free(config, world)
    if free is not None and needed > free:
        raise RefusedError(
            f"{memory_text(config, world, buffer_bytes)}; use fewer tokens, fewer ranks per host or a "
            "smaller hidden_size, or end what else uses this memory"
        )


def memory_text(config: Config, world: World, buffer_bytes: int = 0) -> str:
    """Bytes wanted and free, for messages."""
    tensors, free = bytes_needed(config, world), bytes_free(config, world)
    have = "unknown" if free is None else _gigabytes(free)
    parts = f" ({_gigabytes(tensors)} of tensors, {_gigabytes(buffer_bytes)} for DeepEP's buffer)"
    return (
        f"rank {world.rank} on host {world.host} needs about {_gigabytes(tensors + buffer_bytes)}"
        f"{parts if buffer_bytes else ''}, free for it: {have}"
    )


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB"
