"""The seam between the benchmark and whatever moves the tokens.

A backend gives one exchange per mode. What an exchange returns has one form for all backends, so that
checks, timing and records do not know who moved the tokens.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch

from ..config import Config
from ..world import World


@dataclass(frozen=True)
class Payload:
    """Token rows. x: bfloat16, or float8_e4m3fn with scales (quantize.py), [..., hidden]."""

    x: torch.Tensor
    scales: torch.Tensor | None = None


@dataclass(frozen=True)
class StandardReceived:
    """What a rank holds after a standard dispatch of ``n`` rows.

    topk_idx int64 [n, topk]: local experts, -1 where the expert is on another rank. topk_weights float32
    [n, topk]: 0 there. per_expert: tokens of each local expert. source int64 [n]: the global token of each
    row; None where rows come in order of source rank, then token. handle: the backend's own, for combine.
    """

    payload: Payload
    topk_idx: torch.Tensor
    topk_weights: torch.Tensor
    per_expert: list[int]
    handle: Any
    source: torch.Tensor | None = None


@dataclass(frozen=True)
class LowLatencyReceived:
    """What a rank holds after a low-latency dispatch.

    payload: [local experts, slots, hidden], slots = ranks * tokens; the first per_expert[e] slots of expert e
    are filled. source int64 [local experts, slots] as in StandardReceived.
    """

    payload: Payload
    per_expert: list[int]
    handle: Any
    source: torch.Tensor | None = None


class StandardExchange(ABC):
    """A token goes once to each rank that holds one of its experts."""

    @abstractmethod
    def dispatch(
        self, payload: Payload, topk_idx: torch.Tensor, topk_weights: torch.Tensor
    ) -> StandardReceived:
        """Layout, exchange of the counts, and the payload (scales and routing travel along)."""

    @abstractmethod
    def combine(self, y: torch.Tensor, handle: Any) -> torch.Tensor:
        """bfloat16 [tokens, hidden]: the sum of the ranks' partial results y (bfloat16, rows as received)."""


class LowLatencyExchange(ABC):
    """A token goes once to each expert that it selected, into slots of that expert."""

    @abstractmethod
    def dispatch(self, x: torch.Tensor, topk_idx: torch.Tensor) -> LowLatencyReceived:
        """x is bfloat16; the cast to fp8, where asked for, is part of the dispatch."""

    @abstractmethod
    def combine(
        self, y: torch.Tensor, topk_idx: torch.Tensor, topk_weights: torch.Tensor, handle: Any
    ) -> torch.Tensor:
        """bfloat16 [tokens, hidden]: the weighted sum of the experts' results y (bfloat16, as received)."""


class Backend(ABC):
    """Lifetime and properties of what moves the tokens. ``close`` may be called in any state, also twice."""

    name: str
    stand_in: bool  # a CPU stand-in, whose figures say nothing about DeepEP
    timing: str  # how an operation is timed by default: "wall" or "events" (graph and kernel: later backends)

    def __init__(self, config: Config, world: World, store: Any) -> None:
        self.config = config
        self.world = world
        self.store = store

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where inputs and results live."""

    @classmethod
    def refuse_unless_possible(cls, config: Config, world: World) -> None:
        """Checks of this machine before groups and buffers are made.

        :raises RefusedError: what is missing, and the way out
        """
        return None

    @abstractmethod
    def open(self) -> None:
        """Create process groups and buffers; blocks until all ranks are here."""

    @abstractmethod
    def close(self) -> None:
        """Destroy buffers and process groups."""

    @abstractmethod
    def barrier(self) -> None:
        """No rank leaves before all have come; what ran before on the device is finished then."""

    @abstractmethod
    def standard(self) -> StandardExchange:
        """The exchange of standard mode."""

    @abstractmethod
    def low_latency(self) -> LowLatencyExchange:
        """The exchange of low-latency mode."""

    def variant(self, operation: str) -> str | None:
        """Which form of the operation is in the timed path, where there is more than one."""
        return "counts" if operation == "dispatch" and self.config.mode == "standard" else None

    def counting(self, operation: str) -> str | None:
        """DeepEP's way of counting that simple_bandwidth follows; None where there is none."""
        return None

    def simple_bandwidth(self, operation: str) -> tuple[float | None, float | None]:
        """(simple_nvl_bw, simple_rdma_bw) in GB/s as DeepEP's own test would print; None does not apply."""
        return None, None

    def versions(self) -> dict[str, str | None]:
        """Versions that only the backend knows (deep_ep, nvshmem ...)."""
        return {}

    def notes(self) -> list[str]:
        """Sentences that every record of this backend carries."""
        return []
