"""Which experts each token selects: seeded, on the CPU, the same on every backend and every machine.

Only uniform random numbers are used: they are whole numbers scaled, so they do not depend on the CPU's
vector units as normal ones do.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch

from .config import Config


@dataclass(frozen=True)
class Routing:
    """topk_idx int64 [tokens, topk] global experts, topk_weights float32 [tokens, topk] in (0, 1)."""

    topk_idx: torch.Tensor
    topk_weights: torch.Tensor


def generator(seed: int, purpose: str, rank: int = 0) -> torch.Generator:
    """A CPU generator of its own for each purpose and rank. torch keeps 32 bits of a seed, hence the hash."""
    digest = hashlib.sha256(f"{seed}:{purpose}:{rank}".encode()).digest()
    return torch.Generator(device="cpu").manual_seed(int.from_bytes(digest[:4], "little"))


def expert_columns(config: Config) -> torch.Tensor:
    """int64 [num_experts]: which expert each score column stands for; one permutation for all ranks."""
    if not config.shuffle_columns:
        return torch.arange(config.num_experts)
    return torch.randperm(config.num_experts, generator=generator(config.seed, "columns"))


def route(config: Config, rank: int) -> Routing:
    """The routing of one rank's tokens: uniform scores, the ``num_topk`` best experts of each token."""
    random = generator(config.seed, "routing", rank)
    # double precision: ties, which libraries may break differently, do not happen
    scores = torch.rand((config.tokens, config.num_experts), generator=random, dtype=torch.float64)
    columns = torch.topk(scores, config.num_topk, dim=1, sorted=True).indices
    weights = torch.rand((config.tokens, config.num_topk), generator=random, dtype=torch.float32)
    return Routing(
        topk_idx=expert_columns(config)[columns],
        topk_weights=(weights * 0.5 + 0.5) * (1.0 / config.num_topk),
    )
