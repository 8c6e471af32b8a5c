"""Where tensors live and how time is kept there: a GPU, or the CPU for stand-ins."""

from __future__ import annotations

import inspect
import time
import warnings
from abc import ABC, abstractmethod
from datetime import timedelta
from typing import Any, Callable, Mapping

import torch
import torch.distributed as dist

from .world import World

FLUSH_BYTES = 256 * 10**6  # more than the L2 cache of any GPU
_HIDE_HOST_CYCLES = 1_000_000  # about half a millisecond: the CPU is far ahead of the GPU by then
_SETTLE_CYCLES = 20_000_000  # about 10 ms, as deep_ep/utils/testing.py of DeepEP 2 has it
_BUSY_SIZE = 8192  # a float32 product of this size keeps a GPU busy for some 20 ms


class Device(ABC):
    """One rank's device. Barriers and timing need the process group."""

    torch_device: torch.device
    timing: str  # how an operation is timed by default: "wall" or "events"
    graphs: bool  # whether calls can be captured into a graph

    def __init__(self, world: World) -> None:
        self._world = world

    @abstractmethod
    def use(self) -> None:
        """Make it this process's device."""

    def open_group(self, store: Any, timeout_s: float) -> None:
        """The default process group of all ranks."""
        extra: dict[str, Any] = {}
        takes_device = "device_id" in inspect.signature(dist.init_process_group).parameters
        if takes_device and self.torch_device.type == "cuda":
            extra["device_id"] = self.torch_device  # binds the communicator now, not in the first collective
        dist.init_process_group(
            "nccl" if self.torch_device.type == "cuda" else "gloo",
            store=dist.PrefixStore("group", store),
            rank=self._world.rank,
            world_size=self._world.size,
            timeout=timedelta(seconds=timeout_s),
            **extra,
        )

    @abstractmethod
    def synchronize(self) -> None:
        """What was started before is finished."""

    @abstractmethod
    def barrier(self) -> None:
        """No rank leaves before all have come; what ran before on the device is finished then."""

    @abstractmethod
    def align(self, hide_host: bool = True) -> None:
        """Before each timed call: caches flushed, and all ranks begin at the same time.

        hide_host: keep the device busy meanwhile, so that the time of the CPU's launches is not measured.
        """

    @abstractmethod
    def meet(self) -> None:
        """On the device alone: what is started after it begins at the same time on all ranks."""

    @abstractmethod
    def settle(self) -> None:
        """What tests of DeepEP 2 do before each profiled call: flush, some 10 ms of sleep, meet."""

    @abstractmethod
    def stay_busy(self) -> None:
        """Some 20 ms of work on the current stream."""

    @abstractmethod
    def flush(self) -> None:
        """Empty the caches."""

    @abstractmethod
    def back_to_back(
        self, call: Callable[[], object], warmups: int, calls: int, flush_each: bool = False
    ) -> list[float]:
        """Seconds of each of ``calls`` calls, one right after the other without any barrier.

        flush_each: empty the caches before each call, outside of its time, not only before the first.
        """

    @abstractmethod
    def kernel_times(
        self,
        call: Callable[[], object],
        kernels: Mapping[str, str],
        calls: int,
        before_all: Callable[[], None],
        before_each: Callable[[], None],
        warm: bool = True,
    ) -> dict[str, list[float]]:
        """Seconds of each kernel whose name holds ``kernels[key]``, in order of their start, over ``calls``
        calls; a round before them is not counted, and is profiled too if ``warm``."""


class CpuDevice(Device):
    timing = "wall"
    graphs = False
    torch_device = torch.device("cpu")

    def use(self) -> None:
        return None

    def synchronize(self) -> None:
        return None

    def barrier(self) -> None:
        dist.barrier()

    def align(self, hide_host: bool = True) -> None:
        dist.barrier()

    def meet(self) -> None:
        dist.barrier()

    def settle(self) -> None:
        dist.barrier()

    def stay_busy(self) -> None:
        return None

    def flush(self) -> None:
        return None

    def back_to_back(
        self, call: Callable[[], object], warmups: int, calls: int, flush_each: bool = False
    ) -> list[float]:
        times = []
        for number in range(warmups + calls):
            start = time.perf_counter()
            call()
            if number >= warmups:
                times.append(time.perf_counter() - start)
        return times

    def kernel_times(
        self,
        call: Callable[[], object],
        kernels: Mapping[str, str],
        calls: int,
        before_all: Callable[[], None],
        before_each: Callable[[], None],
        warm: bool = True,
    ) -> dict[str, list[float]]:
        return {}  # there are no kernels


class CudaDevice(Device):
    timing = "events"
    graphs = True

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.torch_device = torch.device("cuda", world.local_rank)
        self._scratch: dict[str, torch.Tensor] = {}

    def use(self) -> None:
        torch.cuda.set_device(self.torch_device)

    def synchronize(self) -> None:
        torch.cuda.synchronize()

    def barrier(self) -> None:
        torch.cuda.synchronize()
        dist.barrier(device_ids=[self._world.local_rank])
        torch.cuda.synchronize()

    def align(self, hide_host: bool = True) -> None:
        self.flush()
        if hide_host:
            torch.cuda._sleep(_HIDE_HOST_CYCLES)
        self.meet()

    def meet(self) -> None:
        dist.all_reduce(self._kept("one", 1, torch.float32))

    def settle(self) -> None:
        self.flush()
        torch.cuda._sleep(_SETTLE_CYCLES)
        self.meet()

    def stay_busy(self) -> None:
        shape = (_BUSY_SIZE, _BUSY_SIZE)
        left = torch.randn(shape, dtype=torch.float32, device=self.torch_device)
        right = torch.randn(shape, dtype=torch.float32, device=self.torch_device)
        torch.matmul(left, right)

    def flush(self) -> None:
        self._kept("flush", FLUSH_BYTES // 4, torch.int32).zero_()

    def back_to_back(
        self, call: Callable[[], object], warmups: int, calls: int, flush_each: bool = False
    ) -> list[float]:
        torch.cuda.synchronize()
        for _ in range(warmups):
            call()
        if not flush_each:
            self.flush()
        pairs = [
            (torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(calls)
        ]
        for start, end in pairs:
            if flush_each:
                self.flush()
            start.record()
            call()
            end.record()
        torch.cuda.synchronize()
        return [float(start.elapsed_time(end)) / 1e3 for start, end in pairs]

    def kernel_times(
        self,
        call: Callable[[], object],
        kernels: Mapping[str, str],
        calls: int,
        before_all: Callable[[], None],
        before_each: Callable[[], None],
        warm: bool = True,
    ) -> dict[str, list[float]]:
        from torch.profiler import ProfilerActivity, profile, schedule

        extra = {"acc_events": True} if "acc_events" in inspect.signature(profile).parameters else {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about a schedule without a warm-up, where that is wanted
            plan = schedule(wait=0 if warm else 1, warmup=1 if warm else 0, active=1, repeat=1)
        with profile(
            activities=[ProfilerActivity.CUDA],
            schedule=plan,
            **extra,
        ) as profiled:
            for _ in range(2):
                before_all()
                for _ in range(calls):
                    before_each()
                    call()
                torch.cuda.synchronize()
                profiled.step()
        events = sorted(profiled.events(), key=lambda event: event.time_range.start)
        return {
            key: [event.time_range.elapsed_us() / 1e6 for event in events if part in event.name]
            for key, part in kernels.items()
        }

    def _kept(self, name: str, values: int, dtype: torch.dtype) -> torch.Tensor:
        kept = self._scratch.get(name)
        if kept is None:
            kept = torch.empty(values, dtype=dtype, device=self.torch_device)
            kept.normal_() if dtype.is_floating_point else kept.zero_()
            self._scratch[name] = kept
        return kept
