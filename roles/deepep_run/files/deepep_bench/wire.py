"""What really crosses each link: rows that stay on their rank are left out, NVLink and RDMA kept apart."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .config import Config
from .routing import Routing
from .traffic import rows_between_ranks


@dataclass(frozen=True)
class LinkRows:
    """Rows of one dispatch that each rank sends and receives over a link; combine is the reverse."""

    sent: list[int]
    received: list[int]

    def busiest(self, sent_bytes: int, received_bytes: int) -> int:
        """Bytes of the busiest rank in its busier direction.

        sent_bytes: of a row in the direction of dispatch; received_bytes: of a row that comes back (0 where
        only one operation runs).
        """
        return max(
            max(out * sent_bytes + into * received_bytes, into * sent_bytes + out * received_bytes)
            for out, into in zip(self.sent, self.received)
        )


def rows_by_link(
    config: Config, routings: list[Routing], local_size: int, hierarchical: bool, nvlink: bool
) -> tuple[LinkRows, LinkRows]:
    """(NVLink, RDMA).

    hierarchical: a token crosses the network once per host, to the GPU of the same number there, which passes
    it on by NVLink. nvlink: whether ranks of one host use NVLink.
    """
    size = len(routings)
    if hierarchical and size > local_size:
        pairs = _by_way_of_the_same_gpu(config, routings, local_size)
    else:
        matrix = rows_between_ranks(config, routings)
        pairs = [
            (source, destination, matrix[source][destination])
            for source in range(size)
            for destination in range(size)
        ]
    rows = {link: ([0] * size, [0] * size) for link in ("nvlink", "rdma")}
    for source, destination, count in pairs:
        if source == destination:
            continue
        inside = source // local_size == destination // local_size
        sent, received = rows["nvlink" if inside and nvlink else "rdma"]
        sent[source] += count
        received[destination] += count
    return LinkRows(*rows["nvlink"]), LinkRows(*rows["rdma"])


def _by_way_of_the_same_gpu(
    config: Config, routings: list[Routing], local_size: int
) -> list[tuple[int, int, int]]:
    size = len(routings)
    pairs = []
    for source, routing in enumerate(routings):
        rank_of = routing.topk_idx // (config.num_experts // size)
        host_of = torch.div(rank_of, local_size, rounding_mode="floor")
        for host in range(size // local_size):
            gateway = host * local_size + source % local_size
            pairs.append((source, gateway, int((host_of == host).any(dim=1).sum())))
            for destination in range(host * local_size, (host + 1) * local_size):
                pairs.append((gateway, destination, int((rank_of == destination).any(dim=1).sum())))
    return pairs
