"""What V1 and V2 of DeepEP have in common: the process group, the links, scales, and an orderly end."""

from __future__ import annotations

import os
from typing import Any

import torch
import torch.distributed as dist

from ..config import Config
from ..device import CpuDevice, CudaDevice, Device
from ..links import rdma_ports, refuse_unless_connected
from ..memory import refuse_unless_it_fits
from ..world import World
from . import package
from .base import Backend, Payload
from .collective import refuse_unless_gpus


class DeepEPBase(Backend):
    """Opens the group, then the buffer of the version; closes them in the reverse order."""

    def __init__(self, config: Config, world: World, store: Any) -> None:
        self._package = package.load()
        self.stand_in = self._package.stand_in
        super().__init__(config, world, store)
        self._buffer: Any = None
        self._settled: list[str] = []

    def make_device(self) -> Device:
        return CpuDevice(self.world) if self._package.stand_in else CudaDevice(self.world)

    @classmethod
    def refuse_unless_possible(cls, config: Config, world: World) -> None:
        if not package.load().stand_in:
            refuse_unless_gpus(cls.name, world)
            refuse_unless_connected(config, world, rdma_ports(), cls._rdma_alone(config, world))

    @classmethod
    def _rdma_alone(cls, config: Config, world: World) -> bool:
        """Whether the kernels reach some ranks by RDMA alone, whatever NVLink spans."""
        return False

    def open(self) -> None:
        self.device_of_rank.use()
        self._prepare_environment()
        self.device_of_rank.open_group(self.store, self.config.process_group_timeout_s)
        self.barrier()
        self._buffer = self._open_buffer(dist.group.WORLD)
        self.barrier()

    def _prepare_environment(self) -> None:
        """Variables that DeepEP's libraries read when a buffer is made."""

    def _open_buffer(self, group: Any) -> Any:
        raise NotImplementedError

    def close(self) -> None:
        buffer, self._buffer = self._buffer, None
        try:
            if buffer is not None and hasattr(buffer, "destroy"):  # before 1.2 its destructor did it
                buffer.destroy()
        finally:
            if dist.is_initialized():
                dist.destroy_process_group()

    def versions(self) -> dict[str, str | None]:
        return {"deep_ep": self._package.version}

    def notes(self) -> list[str]:
        if self.stand_in:
            return ["the package deep_ep is a stand-in on CPUs: this is not DeepEP's figure", *self._settled]
        return list(self._settled)

    def _set_default(self, name: str, value: str, why: str) -> None:
        if name not in os.environ:
            os.environ[name] = value
            self._settled.append(f"{name}={value} was set: {why}")

    def _take(self, buffer_bytes: int) -> None:
        """:raises RefusedError: the buffer does not fit beside the tensors"""
        self.buffer_bytes = buffer_bytes
        refuse_unless_it_fits(self.config, self.world, buffer_bytes)


class Indices:
    """Selected experts in the type that this build of DeepEP takes. Each tensor is cast once, when it is
    first seen: no cast is timed."""

    def __init__(self, dtype: torch.dtype) -> None:
        self._dtype = dtype
        self._cast: list[tuple[torch.Tensor, torch.Tensor]] = []

    def __call__(self, topk_idx: torch.Tensor) -> torch.Tensor:
        if topk_idx.dtype == self._dtype:
            return topk_idx
        for given, cast in self._cast:
            if given is topk_idx:
                return cast
        self._cast.append((topk_idx, topk_idx.to(self._dtype)))
        return self._cast[-1][1]


def gpu_sms(world: World) -> int | None:
    """SMs of this rank's GPU; None where there is none."""
    if not torch.cuda.is_available() or torch.cuda.device_count() <= world.local_rank:
        return None
    return int(torch.cuda.get_device_properties(world.local_rank).multi_processor_count)


def packed(payload: Payload) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    """The payload as DeepEP takes it: UE8M0 scales four to an int32."""
    if payload.scales is None:
        return payload.x
    scales = payload.scales
    return payload.x, scales.contiguous().view(torch.int32) if scales.dtype == torch.uint8 else scales


def unpacked(x: torch.Tensor | tuple[torch.Tensor, torch.Tensor]) -> Payload:
    """The reverse of ``packed``, in whatever order the scales lie in memory."""
    if isinstance(x, torch.Tensor):
        return Payload(x)
    values, scales = x
    scales = scales.contiguous()
    return Payload(values, scales.view(torch.uint8) if scales.dtype == torch.int32 else scales)
