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
    config: Config, routings: list[Routing], domain: int, hierarchical: bool, nvlink: bool
) -> tuple[LinkRows, LinkRows]:
    """(NVLink, RDMA).

    domain: consecutive ranks that NVLink connects. hierarchical: a token crosses the network once per domain,
    to the GPU of the same number there, which passes it on by NVLink. nvlink: whether they use it.
    """
    size = len(routings)
    if hierarchical and size > domain:
        pairs = _by_way_of_the_same_gpu(config, routings, domain)
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
        inside = source // domain == destination // domain
        sent, received = rows["nvlink" if inside and nvlink else "rdma"]
        sent[source] += count
        received[destination] += count
    return LinkRows(*rows["nvlink"]), LinkRows(*rows["rdma"])


def _by_way_of_the_same_gpu(
    config: Config, routings: list[Routing], domain: int
) -> list[tuple[int, int, int]]:
    size = len(routings)
    pairs = []
    for source, routing in enumerate(routings):
        rank_of = routing.topk_idx // (config.num_experts // size)
        domain_of = torch.div(rank_of, domain, rounding_mode="floor")
        for each in range(size // domain):
            gateway = each * domain + source % domain
            pairs.append((source, gateway, int((domain_of == each).any(dim=1).sum())))
            for destination in range(each * domain, (each + 1) * domain):
                pairs.append((gateway, destination, int((rank_of == destination).any(dim=1).sum())))
    return pairs
