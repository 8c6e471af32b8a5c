"""What really crosses each link: rows that stay on their rank are left out, NVLink and RDMA kept apart."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .config import Config
from .routing import Routing
from .traffic import reached


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
    config: Config,
    routings: list[Routing],
    rows: list[list[int]],
    domain: int,
    hierarchical: bool,
    nvlink: bool,
) -> tuple[LinkRows, LinkRows]:
    """(NVLink, RDMA).

    rows: as ``rows_between_ranks`` has them. domain: consecutive ranks that NVLink connects; nvlink: whether
    they use it. hierarchical: a token crosses the network once per domain, to the GPU of the same number
    there, which passes it on by NVLink.
    """
    size = len(routings)
    moved = torch.tensor(rows, dtype=torch.int64)
    if hierarchical and size > domain:
        moved = _by_way_of_the_same_gpu(config, routings, moved, domain)
    moved.fill_diagonal_(0)
    domain_of = torch.arange(size) // domain
    inside = (domain_of.unsqueeze(1) == domain_of) if nvlink else torch.zeros((size, size), dtype=torch.bool)
    return _both_ways(moved.masked_fill(~inside, 0)), _both_ways(moved.masked_fill(inside, 0))


def _both_ways(moved: torch.Tensor) -> LinkRows:
    return LinkRows(moved.sum(dim=1).tolist(), moved.sum(dim=0).tolist())


def _by_way_of_the_same_gpu(
    config: Config, routings: list[Routing], rows: torch.Tensor, domain: int
) -> torch.Tensor:
    """int64 [sender, receiver]: rows of every hop."""
    size = len(routings)
    domains = size // domain
    hops = torch.zeros((size, size), dtype=torch.int64)
    # [domain, number in it, domain, number in it]
    numbered, every = hops.view(domains, domain, domains, domain), torch.arange(domains)
    for source, routing in enumerate(routings):
        number = source % domain
        domain_of = routing.topk_idx // (config.num_experts // domains)
        hops[source, every * domain + number] += reached(domain_of, domains)
        numbered[every, number, every] += rows[source].view(domains, domain)
    return hops
