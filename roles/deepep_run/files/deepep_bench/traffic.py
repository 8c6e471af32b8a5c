"""How many rows and bytes one dispatch or combine moves, from the routing of all ranks."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .config import CHANNELS_PER_SCALE, Config
from .routing import Routing

_BFLOAT16_BYTES = 2
_LOGFMT_META_BYTES = 4  # largest and smallest magnitude of 128 channels, as bfloat16


@dataclass(frozen=True)
class Traffic:
    """Bytes that one operation moves; rows that stay on their rank are counted, as DeepEP's tests do."""

    sent: list[int]  # of each rank
    received: list[int]

    @property
    def total(self) -> int:
        return sum(self.sent)


def rows_between_ranks(config: Config, routings: list[Routing]) -> list[list[int]]:
    """[source rank][destination rank] rows of one dispatch: a token once per destination rank, low latency
    once per selected expert. Grows with ranks and tokens: ask once."""
    world_size = len(routings)
    matrix = []
    for routing in routings:
        rank_of = routing.topk_idx // (config.num_experts // world_size)
        if config.mode == "standard":
            matrix.append(reached(rank_of, world_size).tolist())
        else:
            matrix.append(torch.bincount(rank_of.flatten(), minlength=world_size).tolist())
    return matrix


def reached(place_of: torch.Tensor, places: int) -> torch.Tensor:
    """int64 [places]: how many tokens have a selection there. place_of int64 [tokens, topk]."""
    ordered = place_of.sort(dim=1).values
    first = torch.ones_like(ordered, dtype=torch.bool)
    first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    return torch.bincount(ordered[first], minlength=places)


def dispatch_row_bytes(config: Config) -> int:
    """Of one token: its values and, with fp8, its scales; routing and headers are not counted."""
    if not config.fp8:
        return _BFLOAT16_BYTES * config.hidden_size
    return config.hidden_size + config.hidden_size // CHANNELS_PER_SCALE * scale_bytes(config)


def scale_bytes(config: Config) -> int:
    """Of one fp8 scale as it is sent. DeepEP's low latency sends float32 and makes UE8M0 at the receiver."""
    if config.use_ue8m0 and not (config.mode == "low_latency" and config.deepep):
        return 1
    return 4


def combine_row_bytes(config: Config) -> int:
    """Of one partial result: bfloat16, or LogFMT: 10 bits per channel and a little per 128 of them."""
    if config.use_logfmt and config.mode == "low_latency":
        return config.hidden_size * 10 // 8 + config.hidden_size // CHANNELS_PER_SCALE * _LOGFMT_META_BYTES
    return _BFLOAT16_BYTES * config.hidden_size


def traffic_by_operation(config: Config, rows: list[list[int]]) -> dict[str, Traffic]:
    """For dispatch, combine and both. Combine sends back what dispatch brought."""
    out = [sum(row) for row in rows]
    into = [sum(column) for column in zip(*rows)]
    there, back = dispatch_row_bytes(config), combine_row_bytes(config)
    return {
        "dispatch": Traffic([n * there for n in out], [n * there for n in into]),
        "combine": Traffic([n * back for n in into], [n * back for n in out]),
        "both": Traffic(
            [there * o + back * i for o, i in zip(out, into)],
            [there * i + back * o for o, i in zip(out, into)],
        ),
    }
