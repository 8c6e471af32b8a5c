"""Rows that V1 sends at a time, the queues that take them, and what must hold between the two.

Sources: DEP334 in docs/rules-kernels.md, whose numbers are ``queues`` here. Lint asks the same functions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Mapping, Sequence

from .kernel_sizes import GROUP, aligned, nvlink_buffer, rdma_buffer

PATTERN = re.compile(r"[1-9][0-9]{0,3}(/[1-9][0-9]{0,3})?")


@dataclass(frozen=True)
class Chunks:
    """Rows that V1 sends at a time by NVLink, and by RDMA between hosts; None: DeepEP's default."""

    nvl: int
    rdma: int | None = None

    @staticmethod
    def parse(text: str | None) -> Chunks | None:
        """``NVL`` or ``NVL/RDMA``, as ``PATTERN`` has it."""
        if text is None:
            return None
        nvl, _, rdma = text.partition("/")
        return Chunks(int(nvl), int(rdma) if rdma else None)

    def __str__(self) -> str:
        return f"{self.nvl}" if self.rdma is None else f"{self.nvl}/{self.rdma}"


def nvl_queue(ranks: int, queues: Mapping[str, Any]) -> int:
    """Rows of an NVLink queue: as in DeepEP's own tests, but where their combine could not use it. Combine
    gives each group of ranks an equal part, which must hold the largest chunk that the tests try."""
    if ranks <= GROUP:
        return int(queues["intranode"])
    groups = ranks // GROUP
    tests = queues["wide"] if ranks in queues["wide_ranks"] else queues["internode"]
    return max(aligned(tests, groups), groups * (queues["largest"] + 1))


def problem(operation: str, chunks: Chunks, ranks: int, queues: Mapping[str, Any]) -> str | None:
    """Why DeepEP would refuse these chunks with ``nvl_queue`` and ``queues["rdma"]``; None: it would not."""
    queue, groups = nvl_queue(ranks, queues), max(ranks // GROUP, 1)
    rdma = queues["default_rdma"] if chunks.rdma is None else chunks.rdma
    if rdma >= queues["rdma"]:
        return f"{rdma} rows by RDMA, fewer than {queues['rdma']} are possible"
    if chunks.nvl >= queue:
        return f"{chunks.nvl} rows by NVLink, fewer than {queue} are possible"
    if groups == 1 or operation != "combine":
        return None
    part, warps = queue // groups, max(queues["forwarder_warps"] // groups, 1)
    if rdma < warps:
        return f"{rdma} rows by RDMA, at least {warps} are needed on {groups} groups of ranks"
    if rdma >= part:
        return f"{rdma} rows by RDMA, fewer than {part} are possible on {groups} groups of ranks"
    if chunks.nvl > min(part - warps, part - 1):
        return (
            f"{chunks.nvl} rows by NVLink, at most {min(part - warps, part - 1)} are possible on {groups} "
            "groups of ranks"
        )
    return None


def largest_buffer(
    hidden: int,
    ranks: int,
    sms: int,
    default: Sequence[int],
    asked: Sequence[Chunks],
    queues: Mapping[str, Any],
) -> int:
    """Bytes of the larger one of V1's buffers on several groups of ranks, for the chunks that are asked for
    and the default configuration: rows of the NVLink queue, of an RDMA chunk of dispatch, of combine."""
    queue = max(default[0], nvl_queue(ranks, queues) if asked else 0)
    sent = [*default[1:], *(queues["default_rdma"] if each.rdma is None else each.rdma for each in asked)]
    return max(
        nvlink_buffer(hidden, ranks, sms, queue), *(rdma_buffer(hidden, ranks, sms, rows) for rows in sent)
    )
