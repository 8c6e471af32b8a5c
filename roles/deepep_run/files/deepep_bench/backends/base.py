"""The seam between the benchmark and whatever moves the tokens.

A backend gives one exchange per mode. What an exchange returns has one form for all backends, so that
checks, timing and records do not know who moved the tokens.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, Callable, Mapping

import torch

from ..config import Config
from ..device import Device
from ..tuning import Tuned
from ..world import World

Kernels = Mapping[str, str]
"""Parts of the names of the kernels of one call, each of which runs once: ``kernel``, the one that moves the
rows, and ``epilogue``, where another one follows it."""


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


@dataclass(frozen=True)
class OwnTest:
    """One operation measured as DeepEP's own test of that kind does it, on this rank.

    counting: which test (results.schema.json). call, method: in words. seconds: what the test divides by.
    nvl_bytes, rdma_bytes: what it divides; None where it prints no such figure. parts: seconds of the parts
    that it tells apart (kernel, epilogue, send, receive, notify).
    """

    counting: str
    call: str
    method: str
    seconds: float
    nvl_bytes: float | None
    rdma_bytes: float | None
    parts: dict[str, float]


@dataclass(frozen=True)
class OwnTests:
    """By Measurement.name, of those measurements whose call a test of DeepEP has.

    missing: what could not be had and why, in words, for the notes.
    """

    found: dict[str, OwnTest] = field(default_factory=dict)
    missing: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Inputs:
    """What DeepEP's own tests call with, as a mode has it: the last dispatch and the experts' results."""

    x: Any  # as StandardExchange.prepare made it; bfloat16 [tokens, hidden] in low latency
    topk_idx: torch.Tensor
    topk_weights: torch.Tensor
    received: Any
    y: torch.Tensor


class StandardExchange(ABC):
    """A token goes once to each rank that holds one of its experts."""

    can_repeat = False  # whether ``repeat`` exists
    compiles = False  # whether kernels are compiled when they are first called
    kernels: Mapping[str, Kernels] = {}  # of each operation

    def prepare(self, payload: Payload) -> Any:
        """The payload in the form that ``dispatch`` takes, made once and not timed."""
        return payload

    @abstractmethod
    def dispatch(self, x: Any, topk_idx: torch.Tensor, topk_weights: torch.Tensor) -> Any:
        """Layout, exchange of the counts, and the payload (scales and routing travel along).

        x: from ``prepare``. What is returned is the backend's own; ``readable`` explains it.
        """

    def readable(self, received: Any) -> StandardReceived:
        """What a dispatch returned, in the form that is checked; not timed."""
        checked: StandardReceived = received
        return checked

    def warm_up(
        self, x: Any, topk_idx: torch.Tensor, topk_weights: torch.Tensor, tick: Callable[[str], None]
    ) -> None:
        """Have every kernel compiled that will be called, also for the settings that ``tune`` tries.

        :raises RefusedError: there are none
        """
        return None

    def repeat(self, x: Any, received: Any) -> Any:
        """The same dispatch again by its cached handle: the payload alone, without counts and routing."""
        raise NotImplementedError

    def tune(self, inputs: Inputs, tick: Callable[[str], None]) -> Tuned | None:
        """Search the fastest settings and use them from now on; None where there is nothing to choose.

        What was received before is worth nothing afterwards: dispatch again.
        """
        return None

    def test_order(self, topk_idx: torch.Tensor) -> torch.Tensor | None:
        """Where each token's experts stand now, in the order in which ``own_tests`` dispatches them: int64
        [tokens, topk]; None where it is the same."""
        return None

    @abstractmethod
    def combine(self, y: torch.Tensor, received: Any) -> torch.Tensor:
        """bfloat16 [tokens, hidden]: the sum of the ranks' partial results y (bfloat16, rows as received)."""

    def own_tests(self, inputs: Inputs, tick: Callable[[str], None]) -> OwnTests:
        """Empty where DeepEP has no test of this kind. ``tick`` says what is done next."""
        return OwnTests()


class LowLatencyExchange(ABC):
    """A token goes once to each expert that it selected, into slots of that expert."""

    can_capture = False  # whether calls may be captured into a CUDA graph
    can_split = False  # whether ``send`` exists
    has_own_tests = False  # whether DeepEP has a test of this kind
    kernels: Mapping[str, Kernels] = {}  # of dispatch and combine

    @abstractmethod
    def dispatch(self, x: torch.Tensor, topk_idx: torch.Tensor) -> Any:
        """x is bfloat16; the cast to fp8, where asked for, is part of the dispatch."""

    def readable(self, received: Any) -> LowLatencyReceived:
        """What a dispatch returned, in the form that is checked; not timed."""
        checked: LowLatencyReceived = received
        return checked

    @abstractmethod
    def combine(
        self, y: torch.Tensor, topk_idx: torch.Tensor, topk_weights: torch.Tensor, received: Any
    ) -> torch.Tensor:
        """bfloat16 [tokens, hidden]: the weighted sum of the experts' results y (bfloat16, as received)."""

    @property
    def turn(self) -> int:
        """Calls so far modulo the number of buffers that they take in turn: a captured graph must begin with
        the buffer that it was captured with."""
        return 0

    def send_dispatch(self, x: torch.Tensor, topk_idx: torch.Tensor) -> tuple[Any, Callable[[], None]]:
        """As ``dispatch``, but only sends; what is returned second receives."""
        raise NotImplementedError

    def send_combine(
        self, y: torch.Tensor, topk_idx: torch.Tensor, topk_weights: torch.Tensor, received: Any
    ) -> tuple[torch.Tensor, Callable[[], None]]:
        """As ``combine``, but only sends; what is returned second receives."""
        raise NotImplementedError

    def own_tests(self, inputs: Inputs, whose: str, tick: Callable[[str], None]) -> OwnTests:
        """``whose`` tokens and routing the inputs are; ``tick`` says what is done next."""
        raise NotImplementedError


class Backend(ABC):
    """Lifetime and properties of what moves the tokens. ``close`` may be called in any state, also twice."""

    name: str
    stand_in: bool  # a CPU stand-in, whose figures say nothing about DeepEP
    buffer_bytes = 0  # what DeepEP's buffer takes of each rank's memory, once that is known

    def __init__(self, config: Config, world: World, store: Any) -> None:
        self.config = config
        self.world = world
        self.store = store
        self.device_of_rank = self.make_device()

    @classmethod
    def resolve(cls, config: Config) -> type[Backend]:
        """The class that really runs, where the name leaves it to what is installed.

        :raises RefusedError: nothing that fits is installed
        """
        return cls

    @abstractmethod
    def make_device(self) -> Device:
        """The device of this rank."""

    @property
    def device(self) -> torch.device:
        """Where inputs and results live."""
        return self.device_of_rank.torch_device

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

    def barrier(self) -> None:
        """No rank leaves before all have come; what ran before on the device is finished then."""
        self.device_of_rank.barrier()

    @abstractmethod
    def standard(self) -> StandardExchange:
        """The exchange of standard mode."""

    @abstractmethod
    def low_latency(self) -> LowLatencyExchange:
        """The exchange of low-latency mode."""

    @property
    def hierarchical(self) -> bool:
        """Whether tokens for another NVLink domain cross the network once and are passed on there."""
        return False

    def nvlink_domain(self, baseline: bool = False) -> int:
        """How many consecutive ranks reach each other by NVLink: those of a host, or all where NVLink joins
        the hosts. baseline: in NCCL's collectives beside DeepEP."""
        return self.world.size if self.config.allow_mnnvl else self.world.local_size

    def effective(self) -> dict[str, Any]:
        """Settings as they were really used, by name; what was asked for stands elsewhere in the record."""
        return {}

    def versions(self) -> dict[str, str | None]:
        """Versions that only the backend knows (deep_ep, nvshmem ...)."""
        return {}

    def notes(self) -> list[str]:
        """Sentences that every record of this backend carries."""
        return []
