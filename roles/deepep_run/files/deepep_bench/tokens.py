"""What the tokens hold, and what the stand-in for the experts does with them.

Any token's content follows from the seed and its global number alone, so that every rank can say what it
must receive without asking anybody.
"""

from __future__ import annotations

import torch

from .config import Config
from .routing import generator

POOL_VALUES = 1 << 20  # distinct tokens; a power of two, so that an odd factor permutes the offsets
_STRIDE = 654435761
# LogFMT is used where a block has no value of 1 and above; as in DeepEP's test, small values make it so
LOGFMT_FACTOR = 1 / 8


class TokenPool:
    """Token ``g`` is a window of ``hidden_size`` values into a pool of about normal values (std 1)."""

    def __init__(self, config: Config, device: torch.device) -> None:
        random = generator(config.seed, "tokens")
        size = POOL_VALUES + config.hidden_size
        total = torch.rand(size, generator=random)
        for _ in range(3):  # one after the other: the order of additions is then fixed
            total = total + torch.rand(size, generator=random)
        pool = ((total - 2.0) * 1.7320508).to(torch.bfloat16).to(device)
        if config.use_logfmt:
            pool = pool * LOGFMT_FACTOR  # exact: a power of two
        self._windows = pool.unfold(0, config.hidden_size, 1)
        self._device = device

    def rows(self, global_ids: torch.Tensor) -> torch.Tensor:
        """bfloat16 [n, hidden] for int64 [n] numbers (rank * tokens + token)."""
        offsets = (global_ids.to(self._device) * _STRIDE) & (POOL_VALUES - 1)
        return self._windows[offsets]


def expert_factors(config: Config, device: torch.device) -> torch.Tensor:
    """float32 [num_experts]: expert ``e`` multiplies its tokens by this, so that a wrong expert shows."""
    return 0.5 + torch.arange(config.num_experts, dtype=torch.float32, device=device) / config.num_experts
