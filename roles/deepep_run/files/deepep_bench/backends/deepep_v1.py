"""DeepEP V1, ``deep_ep.Buffer``: standard mode by NVLink (and RDMA between hosts), and low latency."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Callable

import torch

from ..config import CHANNELS_PER_SCALE, Config
from ..device import Device
from ..errors import RefusedError
from ..kernel_chunks import Chunks, nvl_queue, problem
from ..kernel_limits import Limits, qps_fit, refuse, v1_problems
from ..kernel_sizes import GROUP, INT_MAX, V1_DEFAULT_SMS
from ..links import rdma_ports, settle_nvshmem
from ..own_test import PROFILED_CALLS, TESTS_OF_1, TESTS_OF_2, V1Tests, kernel_parts, mean, seen
from ..traffic import scale_bytes
from ..tuning import Candidate, Tuned, best, runs, slowest_mean, sm_counts
from ..world import World
from . import package
from .base import (
    Inputs,
    LowLatencyExchange,
    LowLatencyReceived,
    OwnTest,
    OwnTests,
    Payload,
    StandardExchange,
    StandardReceived,
)
from .deepep_base import DeepEPBase, Indices, gpu_sms, packed, unpacked

_DEFAULT_QPS = 24
_HEADER_BYTES = 16  # what V1's test counts besides values and scales of a low-latency fp8 token
# what DeepEP and the driver say of settings that they refuse before anything is sent
_NOT_POSSIBLE = (
    "assertion error",
    "assertion exception",
    "too many blocks in cooperative launch",
    "too many resources requested for launch",
)
_COUNT_MASK = (1 << 32) - 1
_OWN_NAMES = {"dispatch": "dispatch/cached", "combine": "combine"}  # of the measurements with the same call
_KERNELS = {name: {"kernel": f"::{name}<"} for name in ("dispatch", "combine")}


class DeepEPV1Backend(DeepEPBase):
    name = "deepep_v1"

    @classmethod
    def refuse_unless_possible(cls, config: Config, world: World) -> None:
        found = package.load()
        refuse(v1_problems(config, world, found.limits, gpu_sms(world)))
        _buffer_options(config, found)
        if config.mode == "low_latency":
            _LowLatencyCalls.of(config, found)
        super().refuse_unless_possible(config, world)

    @property
    def hierarchical(self) -> bool:
        return self.config.mode == "standard"

    @classmethod
    def _rdma_alone(cls, config: Config, world: World) -> bool:
        return config.mode == "standard" and world.size > GROUP

    def nvlink_domain(self, baseline: bool = False) -> int:
        if self.config.mode == "standard" and not baseline:
            return min(GROUP, self.world.size)
        return super().nvlink_domain(baseline)

    def _prepare_environment(self) -> None:
        told = settle_nvshmem(self.config, self.world, rdma_ports(), os.environ)
        if told:
            self._settled.append(told)

    def _open_buffer(self, group: Any) -> Any:
        buffer_class = self._package.module.Buffer
        config, size = self.config, self.world.size
        if config.mode == "low_latency":
            self._nvl_bytes = 0
            self._rdma_bytes = buffer_class.get_low_latency_rdma_size_hint(
                config.tokens, config.hidden_size, size, config.num_experts
            )
            self._qps = config.num_qps_per_rank or config.num_experts // size
        else:
            self._sms = config.num_sms or V1_DEFAULT_SMS
            row = 2 * config.hidden_size
            self._settings = _Settings(self._package, size, row)
            self._sms_tried = [self._sms]
            if config.enable_tuning:
                counts = sm_counts(config.num_sms, self._sms, self.device)
                self._sms_tried = self._settings.possible(counts, config.num_qps_per_rank)
            configs = self._settings.all_configs(config, self._sms_tried)
            buffer_class.set_num_sms(self._sms)
            self._nvl_bytes = max(each.get_nvl_buffer_size_hint(row, size) for each in configs)
            self._rdma_bytes = max(each.get_rdma_buffer_size_hint(row, size) for each in configs)
            self._qps = config.num_qps_per_rank or max(_DEFAULT_QPS, *self._sms_tried)
        self._take(self._nvl_bytes + self._rdma_bytes)
        return buffer_class(
            group,
            num_nvl_bytes=self._nvl_bytes,
            num_rdma_bytes=self._rdma_bytes,
            num_qps_per_rank=self._qps,
            **_buffer_options(config, self._package),
        )

    def standard(self) -> StandardExchange:
        self._standard = _Standard(
            self.config,
            self.world,
            self._buffer,
            self.device_of_rank,
            self._settings,
            self._sms,
            self._sms_tried,
            Indices(self._index_type),
            self._tests(),
        )
        return self._standard

    def low_latency(self) -> LowLatencyExchange:
        config, world = self.config, self.world
        return _LowLatency(
            config,
            world,
            self._buffer,
            self.device_of_rank,
            Indices(self._index_type),
            _LowLatencyCalls.of(config, self._package),
            config.allow_nvlink_for_low_latency and self.nvlink_domain() == world.size,
            self._tests(),
        )

    def _tests(self) -> V1Tests:
        """Those that came with the installed package."""
        return TESTS_OF_2 if self._package.elastic else TESTS_OF_1

    @property
    def _index_type(self) -> torch.dtype:
        """Builds since 2025-09-24 may have another one than int64."""
        found: torch.dtype = getattr(self._package.module, "topk_idx_t", torch.int64)
        return found

    def effective(self) -> dict[str, Any]:
        found: dict[str, Any] = {"num_nvl_bytes": self._nvl_bytes, "num_rdma_bytes": self._rdma_bytes}
        uses_network = self.config.mode == "low_latency" or self.world.size > GROUP
        found["num_qps_per_rank"] = self._qps if uses_network else None
        if self.config.mode == "standard":
            found.update(self._standard.effective())
        return found


def _buffer_options(config: Config, found: package.Package) -> dict[str, Any]:
    """What ``Buffer`` got later than its other arguments. :raises RefusedError: it is too old for this"""
    given: dict[str, Any] = {"allow_mnnvl": config.allow_mnnvl, "explicitly_destroy": True}
    idle = {"allow_mnnvl": False, "explicitly_destroy": True, "allow_nvlink_for_low_latency_mode": False}
    if config.mode == "low_latency":
        given["low_latency_mode"] = True
        given["allow_nvlink_for_low_latency_mode"] = config.allow_nvlink_for_low_latency
    return found.taken(found.module.Buffer.__init__, given, idle)


@dataclass(frozen=True)
class _LowLatencyCalls:
    """Arguments of the low-latency calls that older packages lack, as far as this one has them.

    counted: whether a dispatch can count what each expert gets.
    """

    dispatch: dict[str, Any]
    combine: dict[str, Any]
    counted: bool

    @classmethod
    def of(cls, config: Config, found: package.Package) -> _LowLatencyCalls:
        """:raises RefusedError: the package is too old for what is asked for"""
        buffer_class = found.module.Buffer
        given = {
            "use_fp8": config.fp8,
            "round_scale": config.round_scale and config.fp8,
            "use_ue8m0": config.use_ue8m0 and config.fp8,
        }
        idle = {"use_fp8": True, "round_scale": False, "use_ue8m0": False}
        statistics = {"cumulative_local_expert_recv_stats": None}
        return cls(
            found.taken(buffer_class.low_latency_dispatch, given, idle),
            found.taken(
                buffer_class.low_latency_combine, {"use_logfmt": True} if config.use_logfmt else {}, {}
            ),
            bool(found.taken(buffer_class.low_latency_dispatch, statistics, statistics)),
        )


class _Settings:
    """DeepEP's ``Config`` objects: by number of SMs and chunk sizes, and which chunk sizes its tests try.

    row_bytes: of a token in bfloat16.
    """

    def __init__(self, found: package.Package, ranks: int, row_bytes: int) -> None:
        self._module = found.module
        self._ranks = ranks
        self._row_bytes = row_bytes
        self._limits: Limits = found.limits
        self._queues: dict[str, Any] = found.limits["standard-chunks"]

    def config(self, operation: str, num_sms: int, chunks: Chunks | None) -> Any:
        """chunks None: what DeepEP recommends for this number of ranks."""
        buffer_class = self._module.Buffer
        if chunks is None:
            buffer_class.set_num_sms(num_sms)
            recommended = getattr(buffer_class, f"get_{operation}_config")
            return recommended(self._ranks)
        rdma = self._queues["default_rdma"] if chunks.rdma is None else chunks.rdma
        nvl_buffer = nvl_queue(self._ranks, self._queues)
        return self._module.Config(num_sms, chunks.nvl, nvl_buffer, rdma, self._queues["rdma"])

    def possible(self, sm_counts: list[int], qps: int | None) -> list[int]:
        """Those numbers of SMs with which V1 runs in its default configuration.

        :raises RefusedError: there are none
        """
        if self._ranks <= GROUP:
            return sm_counts
        least, most = self._limits["internode-sms"]
        found = [
            sms
            for sms in sm_counts
            if least <= sms <= most
            and qps_fit(qps, sms)
            and all(self._fits(operation, sms, None) for operation in ("dispatch", "combine"))
        ]
        if not found:
            raise RefusedError(
                f"enable_tuning = true: V1 on {self._ranks} ranks can use none of {sm_counts} SMs with "
                f"{self._row_bytes} bytes per token" + (f" and {qps} queue pairs" if qps else "")
            )
        return found

    def chunks_to_try(self, operation: str, num_sms: int) -> list[Chunks]:
        """The ranges of DeepEP's test_intranode and test_internode, as far as they can run."""
        return [
            chunks
            for chunks in self._range(operation)
            if problem(operation, chunks, self._ranks, self._queues) is None
            and self._fits(operation, num_sms, chunks)
        ]

    def _range(self, operation: str) -> list[Chunks]:
        if self._ranks <= GROUP:
            return [Chunks(n) for n in (range(4, 33, 2) if operation == "dispatch" else range(1, 17))]
        largest = self._queues["largest"]
        if operation == "dispatch":
            return [Chunks(nvl, rdma) for nvl in range(4, 45, 4) for rdma in range(4, largest + 1, 4)]
        first = 12 if self._ranks == 2 * GROUP else 8
        return [Chunks(nvl, rdma) for nvl in range(1, 8) for rdma in range(first, largest + 1, 4)]

    def _fits(self, operation: str, num_sms: int, chunks: Chunks | None) -> bool:
        """Whether the buffers stay below the 2 GiB that kernels between groups can count."""
        if self._ranks <= GROUP:
            return True
        config = self.config(operation, num_sms, chunks)
        hints = config.get_nvl_buffer_size_hint, config.get_rdma_buffer_size_hint
        return all(hint(self._row_bytes, self._ranks) < INT_MAX for hint in hints)

    def all_configs(self, config: Config, sms: list[int]) -> list[Any]:
        """Everything that may be used: the buffer must hold the largest."""
        asked = {"dispatch": config.dispatch_chunks, "combine": config.combine_chunks}
        found = []
        for operation, text in asked.items():
            for n in sms:
                tried: list[Chunks | None] = [Chunks.parse(text)]
                if config.enable_tuning:
                    tried += self.chunks_to_try(operation, n)
                found += [self.config(operation, n, chunks) for chunks in tried]
        return found


@dataclass(frozen=True)
class _Dispatched:
    """The six values of ``Buffer.dispatch``, less the event."""

    x: Any
    topk_idx: torch.Tensor
    topk_weights: torch.Tensor
    per_expert: list[int]
    handle: Any


class _Standard(StandardExchange):
    can_repeat = True
    kernels = _KERNELS

    def __init__(
        self,
        config: Config,
        world: World,
        buffer: Any,
        device: Device,
        settings: _Settings,
        num_sms: int,
        sms_tried: list[int],
        indices: Indices,
        tests: V1Tests,
    ) -> None:
        self._config = config
        self._world = world
        self._buffer = buffer
        self._device = device
        self._settings = settings
        self._sms_tried = sms_tried
        self._indices = indices
        self._tests = tests
        self._use(num_sms, Chunks.parse(config.dispatch_chunks), Chunks.parse(config.combine_chunks))

    def _use(self, num_sms: int, dispatch: Chunks | None, combine: Chunks | None) -> None:
        self._sms, self._chunks = num_sms, {"dispatch": dispatch, "combine": combine}
        self._dispatch_config = self._settings.config("dispatch", num_sms, dispatch)
        self._combine_config = self._settings.config("combine", num_sms, combine)

    def effective(self) -> dict[str, Any]:
        """As Backend.effective."""
        default = f"DeepEP's default for {self._world.size} ranks"
        return {
            "num_sms": self._sms,
            **{f"{name}_chunks": str(chunks or default) for name, chunks in self._chunks.items()},
        }

    def tune(self, inputs: Inputs, tick: Callable[[str], None]) -> Tuned | None:
        candidates = []
        for sms in self._sms_tried:
            tick(f"tuning with {sms} SMs")
            self._use(sms, None, None)

            def dispatch() -> _Dispatched:
                return self.dispatch(inputs.x, inputs.topk_idx, inputs.topk_weights)

            if not runs(dispatch, _NOT_POSSIBLE, self._device):
                continue
            received = dispatch()
            for operation in ("dispatch", "combine"):
                tried, calls = [], []
                for chunks in (None, *self._settings.chunks_to_try(operation, sms)):
                    setting = self._settings.config(operation, sms, chunks)
                    call = self._call(operation, inputs, received, setting)
                    if runs(call, _NOT_POSSIBLE, self._device):
                        tried.append(chunks)
                        calls.append(call)
                tick(f"tuning {operation} with {sms} SMs, {len(tried)} chunk sizes")
                candidates += [
                    Candidate(operation, sms, None if chunks is None else str(chunks), seconds)
                    for chunks, seconds in zip(tried, slowest_mean(self._device, calls))
                ]
        tuned = best(candidates)
        self._use(tuned.num_sms, Chunks.parse(tuned.dispatch_chunks), Chunks.parse(tuned.combine_chunks))
        return tuned

    def _call(
        self, operation: str, inputs: Inputs, received: _Dispatched, config: Any
    ) -> Callable[[], object]:
        if operation == "dispatch":
            return lambda: self._buffer.dispatch(inputs.x, handle=received.handle, config=config)
        return lambda: self._buffer.combine(inputs.y, received.handle, config=config)

    def _chunks_text(self, operation: str) -> str:
        chunks = self._chunks[operation]
        return f"chunks {chunks}" if chunks else "default chunks"

    def prepare(self, payload: Payload) -> Any:
        ready = packed(payload)
        if isinstance(ready, tuple):
            # column by column, as the GEMM after it wants them and DeepEP's test has them
            return ready[0], ready[1].t().contiguous().t()
        return ready

    def dispatch(self, x: Any, topk_idx: torch.Tensor, topk_weights: torch.Tensor) -> _Dispatched:
        topk_idx = self._indices(topk_idx)
        per_rank, per_rdma_rank, per_expert, in_rank, _ = self._buffer.get_dispatch_layout(
            topk_idx, self._config.num_experts
        )
        received, idx, weights, counts, handle, _ = self._buffer.dispatch(
            x,
            num_tokens_per_rank=per_rank,
            num_tokens_per_rdma_rank=per_rdma_rank,
            is_token_in_rank=in_rank,
            num_tokens_per_expert=per_expert,
            topk_idx=topk_idx,
            topk_weights=topk_weights,
            config=self._dispatch_config,
        )
        return _Dispatched(received, idx, weights, counts, handle)

    def readable(self, received: _Dispatched) -> StandardReceived:
        source = None
        if self._world.size <= GROUP:
            # handle[0][i][r]: rows that ranks 0 to i send to rank r; handle[3]: the token at its source
            ends = received.handle[0][:, self._world.rank].long()
            tokens = received.handle[3].long()
            rows = torch.arange(tokens.numel(), device=tokens.device)
            source = torch.bucketize(rows, ends, right=True) * self._config.tokens + tokens
        return StandardReceived(
            payload=unpacked(received.x),
            topk_idx=received.topk_idx.long(),
            topk_weights=received.topk_weights,
            per_expert=list(received.per_expert),
            handle=received.handle,
            source=source,
        )

    def repeat(self, x: Any, received: _Dispatched) -> _Dispatched:
        again = self._buffer.dispatch(x, handle=received.handle, config=self._dispatch_config)[0]
        return _Dispatched(
            again, received.topk_idx, received.topk_weights, received.per_expert, received.handle
        )

    def combine(self, y: torch.Tensor, received: _Dispatched) -> torch.Tensor:
        combined: torch.Tensor = self._buffer.combine(y, received.handle, config=self._combine_config)[0]
        return combined

    def own_tests(self, inputs: Inputs, tick: Callable[[str], None]) -> OwnTests:
        """Dispatch by its cached handle, combine without weights: what the tests time."""
        if self._world.size > GROUP:
            return self._internode_tests(inputs, tick)
        rows, hidden = inputs.y.shape
        bfloat16_bytes = 2.0 * rows * hidden
        found = {}
        for name, text, factor in (
            ("dispatch", "cached handle", self._dispatch_factor()),
            ("combine", "without weights", 1.0),
        ):
            tick(f"as DeepEP's own test: {name}")
            call = self._own_call(name, inputs)
            seconds = self._tests.mean_time(self._device, call)
            text = f"{text}, {self._chunks_text(name)}"
            found[_OWN_NAMES[name]] = OwnTest(
                "v1_intranode", text, self._tests.events, seconds, bfloat16_bytes * factor, None, {}
            )
        return OwnTests(found)

    def _internode_tests(self, inputs: Inputs, tick: Callable[[str], None]) -> OwnTests:
        rows, hidden = inputs.y.shape
        hosts = inputs.topk_idx // (self._config.num_experts // (self._world.size // GROUP))
        sent = sum(int((hosts == host).any(dim=1).sum()) for host in range(self._world.size // GROUP))
        tests = OwnTests()
        for name, factor in (("dispatch", self._dispatch_factor()), ("combine", 1.0)):
            tick(f"as DeepEP's own test: {name}")
            call = self._own_call(name, inputs)
            kernels = _KERNELS[name]
            times = self._tests.kernels_unmet(self._device, call, {**kernels, "notify": "notify"})
            counted, missing = seen(times, kernels, PROFILED_CALLS)
            if missing:
                tests.missing[_OWN_NAMES[name]] = list(missing.values())
                continue
            parts = {key: mean(values) for key, values in {**times, **counted}.items() if values}
            text, size = f"cached handle, {self._chunks_text(name)}", 2.0 * hidden * factor
            tests.found[_OWN_NAMES[name]] = OwnTest(
                "v1_internode", text, self._tests.unmet, parts["kernel"], rows * size, sent * size, parts
            )
        return tests

    def _own_call(self, name: str, inputs: Inputs) -> Callable[[], object]:
        config = self._dispatch_config if name == "dispatch" else self._combine_config
        return self._call(name, inputs, inputs.received, config)

    def _dispatch_factor(self) -> float:
        """Bytes of a row over those in bfloat16, as the tests have it; they know no scales of one byte."""
        if not self._config.fp8:
            return 1.0
        return (1 + scale_bytes(self._config) / CHANNELS_PER_SCALE) / 2


@dataclass(frozen=True)
class _Slots:
    """What ``Buffer.low_latency_dispatch`` returns, less event and hook."""

    x: Any
    count: torch.Tensor
    handle: Any


class _LowLatency(LowLatencyExchange):
    can_split = True
    has_own_tests = True
    kernels = _KERNELS

    def __init__(
        self,
        config: Config,
        world: World,
        buffer: Any,
        device: Device,
        indices: Indices,
        arguments: _LowLatencyCalls,
        nvlink: bool,
        tests: V1Tests,
    ) -> None:
        self._config = config
        self._world = world
        self._buffer = buffer
        self._device = device
        self._indices = indices
        self._arguments = arguments
        self._nvlink = nvlink  # no peer is reached by NIC
        self._tests = tests
        self._calls = 0
        self.can_capture = device.graphs

    @property
    def turn(self) -> int:
        return self._calls % 2

    def dispatch(self, x: torch.Tensor, topk_idx: torch.Tensor) -> _Slots:
        return self._dispatch(x, topk_idx, hook=False)[0]

    def send_dispatch(self, x: torch.Tensor, topk_idx: torch.Tensor) -> tuple[_Slots, Callable[[], None]]:
        return self._dispatch(x, topk_idx, hook=True)

    def _dispatch(
        self, x: torch.Tensor, topk_idx: torch.Tensor, hook: bool, **extra: Any
    ) -> tuple[_Slots, Any]:
        config = self._config
        self._calls += 1
        received, count, handle, _, receive = self._buffer.low_latency_dispatch(
            x,
            self._indices(topk_idx),
            config.tokens,
            config.num_experts,
            async_finish=False,
            return_recv_hook=hook,
            **self._arguments.dispatch,
            **extra,
        )
        return _Slots(received, count, handle), receive

    def readable(self, received: _Slots) -> LowLatencyReceived:
        info, ranges = received.handle[0].long(), received.handle[1]
        counts = received.count.tolist()
        experts, slots = info.shape
        source = torch.full((experts, slots), -1, dtype=torch.int64, device=info.device)
        for expert, row in enumerate(ranges.tolist()):
            for rank, value in enumerate(row):
                first, count = value >> 32, value & _COUNT_MASK
                tokens = info[expert, first : first + count] % self._config.tokens
                source[expert, first : first + count] = rank * self._config.tokens + tokens
        return LowLatencyReceived(unpacked(received.x), counts, received.handle, source)

    def combine(
        self, y: torch.Tensor, topk_idx: torch.Tensor, topk_weights: torch.Tensor, received: _Slots
    ) -> torch.Tensor:
        return self._combine(y, topk_idx, topk_weights, received, hook=False)[0]

    def send_combine(
        self, y: torch.Tensor, topk_idx: torch.Tensor, topk_weights: torch.Tensor, received: _Slots
    ) -> tuple[torch.Tensor, Callable[[], None]]:
        return self._combine(y, topk_idx, topk_weights, received, hook=True)

    def _combine(
        self,
        y: torch.Tensor,
        topk_idx: torch.Tensor,
        topk_weights: torch.Tensor,
        received: _Slots,
        hook: bool,
    ) -> tuple[torch.Tensor, Any]:
        self._calls += 1
        combined, _, receive = self._buffer.low_latency_combine(
            y,
            self._indices(topk_idx),
            topk_weights,
            received.handle,
            async_finish=False,
            return_recv_hook=hook,
            **self._arguments.combine,
        )
        return combined, receive

    def own_tests(self, inputs: Inputs, whose: str, tick: Callable[[str], None]) -> OwnTests:
        hidden = self._config.hidden_size
        selections = int((inputs.topk_idx >= 0).sum())
        value_bytes = hidden + hidden / 128 * 4 + _HEADER_BYTES if self._config.fp8 else 2.0 * hidden
        back_bytes = hidden * 10 / 8 + hidden / 128 * 4 if self._config.use_logfmt else 2.0 * hidden
        sizes = {"dispatch": selections * value_bytes, "combine": selections * back_bytes}

        def test(name: str, text: str, method: str, seconds: float, parts: dict[str, float]) -> OwnTest:
            size = sum(sizes.values()) if name == "both" else sizes[name]
            by_link = (size, None) if self._nvlink else (None, size)
            return OwnTest("v1_ll", text, method, seconds, by_link[0], by_link[1], parts)

        local_experts = self._config.num_experts // self._world.size
        # the test counts what each expert gets, in the kernel
        stats = torch.zeros(local_experts, dtype=torch.int32, device=inputs.x.device)
        counted = {"cumulative_local_expert_recv_stats": stats} if self._arguments.counted else {}

        def both() -> None:
            received, _ = self._dispatch(inputs.x, inputs.topk_idx, hook=False, **counted)
            self.combine(inputs.y, inputs.topk_idx, inputs.topk_weights, received)

        def apart() -> None:
            received, receive = self._dispatch(inputs.x, inputs.topk_idx, hook=True, **counted)
            self._device.stay_busy()
            receive()
            _, receive = self.send_combine(inputs.y, inputs.topk_idx, inputs.topk_weights, received)
            self._device.stay_busy()
            receive()

        tick("as DeepEP's own test: both")
        text = f"dispatch, then combine, {whose}"
        tests, device = OwnTests(), self._device
        seconds = self._tests.mean_time(device, both)
        tests.found["both"] = test("both", text, self._tests.events, seconds, {})
        kernels = {name: _KERNELS[name]["kernel"] for name in sizes}
        tick("as DeepEP's own test: kernels")
        whole, missing = seen(self._tests.kernels_met(device, both, kernels), kernels, PROFILED_CALLS)
        tick("as DeepEP's own test: send and receive")
        phases, lost = seen(self._tests.kernels_met(device, apart, kernels), kernels, 2 * PROFILED_CALLS)
        for name in sizes:
            sentences = [each[name] for each in (missing, lost) if name in each]
            if sentences:
                tests.missing[name] = sentences
            if name not in whole:
                continue
            parts = kernel_parts(whole[name])
            if name in phases:
                parts.update(send=mean(phases[name][0::2]), receive=mean(phases[name][1::2]))
            tests.found[name] = test(name, text, self._tests.met, parts["kernel"], parts)
        return tests
