"""How long the same bytes take from each rank to each other one: which sender, receiver or link is slow.

Not DeepEP's kernels, which serve all peers at once, so that their times name no link. Plain point-to-point
calls of torch.distributed on the run's own process group: in round k every rank sends to the k-th rank after
it and receives from the k-th before it, all ranks at once. A rank sees the later of its sending and its
receiving; the time of a link is the lower of what its two ends saw, so that a slow peer on the other side of
an end is not taken for it.
"""

from __future__ import annotations

from typing import Any, Callable, Sequence

import torch
import torch.distributed as dist

from .config import Config
from .device import Device
from .timing import TIMERS, measure
from .traffic import dispatch_row_bytes
from .world import World

SMALLEST, LARGEST = 64 * 1024, 8 * 1024 * 1024
REPEATS = 5
METHOD = (
    "torch.distributed point to point, not DeepEP's kernels: every rank sends to one rank and receives from "
    f"another at a time; the shortest of {REPEATS} calls, the lower of what both ends saw"
)


def bytes_per_link(config: Config, world: World) -> int:
    """About what a rank sends to another one in a dispatch, within bounds; the same for every link."""
    rows = config.tokens * min(config.num_topk, world.size) // world.size
    return max(SMALLEST, min(LARGEST, rows * dispatch_row_bytes(config)))


def probe(config: Config, world: World, device: Device, tick: Callable[[str], None]) -> list[float]:
    """Seconds of the rounds 1, 2 .. ranks - 1 as this rank sees them. ``tick`` says which one is next."""
    size = bytes_per_link(config, world)
    outgoing = torch.zeros(size, dtype=torch.uint8, device=device.torch_device)
    incoming = torch.empty_like(outgoing)
    found = []
    for step in range(1, world.size):
        tick(f"links {step}/{world.size - 1}")
        to, source = (world.rank + step) % world.size, (world.rank - step) % world.size

        def exchange(to: int = to, source: int = source) -> None:
            operations = [dist.P2POp(dist.isend, outgoing, to), dist.P2POp(dist.irecv, incoming, source)]
            for request in dist.batch_isend_irecv(operations):
                request.wait()

        times = measure(exchange, TIMERS[device.timing], device.align, 1 + REPEATS, lambda number: None)
        # what the link can do: other work on the machine only ever makes a call longer
        found.append(min(times[1:]))
    return found


def links_json(
    config: Config, world: World, hosts: Sequence[str], rounds: Sequence[Sequence[float]], group: str
) -> dict[str, Any]:
    """links.json (schemas/links.schema.json) from all ranks' rounds; rows send, columns receive."""
    ranks = len(rounds)

    def seconds(sender: int, receiver: int) -> float | None:
        step = (receiver - sender) % ranks
        return min(rounds[sender][step - 1], rounds[receiver][step - 1]) if step else None

    return {
        "schema": 1,
        "method": METHOD,
        "group": group,
        "bytes": bytes_per_link(config, world),
        "repeats": REPEATS,
        "hosts": list(hosts),
        "time_s": [[seconds(sender, receiver) for receiver in range(ranks)] for sender in range(ranks)],
    }
