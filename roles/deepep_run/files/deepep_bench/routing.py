"""Which experts each token selects: seeded, on the CPU, the same on every backend and every machine.

* uniform: every expert alike
* group_limited: as DeepSeek-V3's gate. Experts stand in equal groups of consecutive ones; of each token the
  groups count whose two best scores add up highest, and experts of the other groups are out
* unbalanced: the first rank gets ``imbalance`` times the tokens of the mean of the others (as V2's test);
  a ratio that cannot be reached is refused (config.py)
* trace: read from a file in the form of token_matrix.txt, so that a recorded run can be routed again

Only uniform random numbers are used: they are whole numbers scaled, so they do not depend on the CPU's
vector units as normal ones do.
"""

from __future__ import annotations

import array
import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch

from .config import Config
from .errors import RefusedError


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
    """int64 [num_experts]: which expert each score column stands for; one permutation for all ranks.

    With group_limited whole groups change places, and experts within them: groups keep their experts.
    """
    if not config.shuffle_columns:
        return torch.arange(config.num_experts)
    random = generator(config.seed, "columns")
    if config.routing != "group_limited":
        return torch.randperm(config.num_experts, generator=random)
    size = config.num_experts // config.num_groups
    order = torch.randperm(config.num_groups, generator=random).tolist()
    return torch.cat([group * size + torch.randperm(size, generator=random) for group in order])


def route(config: Config, rank: int, ranks: int) -> Routing:
    """The routing of the tokens of ``rank``, one of ``ranks``.

    :raises RefusedError: the trace cannot be used
    """
    random = generator(config.seed, "routing", rank)
    if config.routing == "trace":
        experts = _from_trace(config, rank, ranks)
    else:
        # double precision: ties, which libraries may break differently, do not happen
        scores = torch.rand((config.tokens, config.num_experts), generator=random, dtype=torch.float64)
        if config.routing == "group_limited":
            scores = _within_groups(config, scores)
        elif config.routing == "unbalanced":
            scores[:, : config.num_experts // ranks] *= _factor(config, ranks)
        experts = expert_columns(config)[torch.topk(scores, config.num_topk, dim=1, sorted=True).indices]
    weights = torch.rand((config.tokens, config.num_topk), generator=random, dtype=torch.float32)
    return Routing(experts, (weights * 0.5 + 0.5) * (1.0 / config.num_topk))


def digest(routings: list[Routing]) -> str:
    """SHA-256 of everybody's experts, in rank order: equal digests, equal routing."""
    found = hashlib.sha256()
    for routing in routings:
        found.update(array.array("i", routing.topk_idx.flatten().tolist()).tobytes())
    return found.hexdigest()


def trace_digest(config: Config) -> str | None:
    """SHA-256 of the trace's file, so that hosts with different files notice; None without a trace.

    :raises RefusedError: it cannot be read
    """
    if config.routing != "trace":
        return None
    return hashlib.sha256(_read(str(config.routing_trace))).hexdigest()


def _within_groups(config: Config, scores: torch.Tensor) -> torch.Tensor:
    groups = scores.view(config.tokens, config.num_groups, -1)
    best = torch.topk(groups, min(2, groups.size(2)), dim=2).values.sum(dim=2)
    chosen = torch.topk(best, config.num_topk_groups, dim=1).indices
    allowed = torch.zeros((config.tokens, config.num_groups), dtype=torch.bool).scatter_(1, chosen, True)
    return groups.masked_fill(~allowed.unsqueeze(2), -1.0).view(scores.shape)


_CALIBRATION_TOKENS = 4096
_BISECTIONS = 24
_USUAL_FACTOR, _LARGEST_FACTOR = 100.0, 1e8


@functools.lru_cache(maxsize=4)
def _factor(config: Config, ranks: int) -> float:
    """By what the first rank's scores are multiplied to get the ratio. Found by counting, hence exact."""
    if config.imbalance <= 1 or ranks == 1:
        return 1.0
    first = config.num_experts // ranks
    random = generator(config.seed, "imbalance")
    scores = torch.rand((_CALIBRATION_TOKENS, config.num_experts), generator=random, dtype=torch.float64)

    def more_than_asked(factor: float) -> bool:
        tried = scores.clone()
        tried[:, :first] *= factor
        rank_of = torch.topk(tried, config.num_topk, dim=1).indices // first
        tokens = [int((rank_of == rank).any(dim=1).sum()) for rank in range(ranks)]
        return tokens[0] * (ranks - 1) > sum(tokens[1:]) * config.imbalance

    low, high = 1.0, _USUAL_FACTOR
    while high < _LARGEST_FACTOR and not more_than_asked(high):
        high *= 100
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if more_than_asked(middle) else (middle, high)
    return low


def reached_imbalance(config: Config, routings: list[Routing]) -> float | None:
    """Tokens that reach the first rank, over the mean of the others; None where no other gets any."""
    local_experts = config.num_experts // len(routings)
    ranks_of = [routing.topk_idx // local_experts for routing in routings]
    tokens = [
        sum(int((rank_of == rank).any(dim=1).sum()) for rank_of in ranks_of) for rank in range(len(routings))
    ]
    others = sum(tokens[1:])
    return tokens[0] * (len(tokens) - 1) / others if others else None


def _from_trace(config: Config, rank: int, ranks: int) -> torch.Tensor:
    """Rows rank * tokens and following; what stands behind the last rank's is not used."""
    rows = _trace_rows(str(config.routing_trace))
    place = f"routing_trace = {config.routing_trace}"
    if len(rows) < ranks * config.tokens:
        raise RefusedError(
            f"{place}: has {len(rows)} tokens, {ranks} ranks with {config.tokens} each need "
            f"{ranks * config.tokens}"
        )
    mine = rows[rank * config.tokens : (rank + 1) * config.tokens]
    for number, row in enumerate(mine, start=rank * config.tokens):
        if len(row) != config.num_topk or len(set(row)) != len(row):
            raise RefusedError(
                f"{place}: token {number} must select num_topk = {config.num_topk} different experts, "
                f"has {' '.join(map(str, row))[:80]}"
            )
        if not all(0 <= expert < config.num_experts for expert in row):
            raise RefusedError(
                f"{place}: token {number} selects {max(row)}; experts are 0 to {config.num_experts - 1}"
            )
    return torch.tensor(mine, dtype=torch.int64)


@functools.lru_cache(maxsize=1)
def _trace_rows(path: str) -> list[list[int]]:
    rows = []
    for number, line in enumerate(_read(path).decode("utf-8", "replace").splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            rows.append([int(word) for word in line.split()])
        except ValueError:
            raise RefusedError(f"routing_trace = {path}:{number}: not a line of whole numbers") from None
    return rows


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise RefusedError(f"routing_trace = {path}: cannot be read on this host: {error.strerror}") from None
