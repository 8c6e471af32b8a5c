"""Dispatch and combine from plain all-to-all of torch.distributed: gloo (stand-in), nccl (baseline).

What a model needs is in the timed path: layout, exchange of the counts, gather by destination, all-to-all,
scatter, and the reduction.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..config import CHANNELS_PER_SCALE, Config
from ..device import CpuDevice, CudaDevice, Device
from ..errors import RefusedError
from ..layout import once_per_expert, once_per_rank
from ..quantize import quantize
from ..world import World
from .base import Backend, LowLatencyExchange, LowLatencyReceived, Payload, StandardExchange, StandardReceived


class _Buffers:
    """Scratch tensors kept between calls, so that a timed call does not pay for fresh pages."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._kept: dict[str, torch.Tensor] = {}

    def rows(self, name: str, rows: int, width: int, dtype: torch.dtype) -> torch.Tensor:
        """Uninitialised [rows, width]; the same memory for the same name."""
        kept = self._kept.get(name)
        if kept is None or kept.size(0) < rows or kept.size(1) != width or kept.dtype != dtype:
            kept = torch.empty((rows, width), dtype=dtype, device=self._device)
            self._kept[name] = kept
        return kept[:rows]

    def clear(self) -> None:
        self._kept.clear()


class _Transport:
    """All-to-all of rows, as bytes: gloo does not know every data type."""

    def __init__(self, world_size: int, buffers: _Buffers) -> None:
        self._world_size = world_size
        self.buffers = buffers

    def counts(self, rows: torch.Tensor) -> torch.Tensor:
        """int64 [ranks, n] on the CPU: row r is what rank r had for this rank."""
        received = torch.empty_like(rows)
        torch.distributed.all_to_all_single(received, rows.contiguous())
        return received.cpu()

    def exchange(self, name: str, rows: torch.Tensor, send: list[int], receive: list[int]) -> torch.Tensor:
        """[sum(receive), width]: the other ranks' rows, in rank order."""
        received = self.buffers.rows(f"{name}.received", sum(receive), rows.size(1), rows.dtype)
        torch.distributed.all_to_all_single(
            received.view(torch.uint8),
            rows.view(torch.uint8),
            output_split_sizes=receive,
            input_split_sizes=send,
        )
        return received

    def gather(self, name: str, rows: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        """rows[index] in kept memory."""
        out = self.buffers.rows(f"{name}.sent", index.numel(), rows.size(1), rows.dtype)
        # as bytes: index_select does not know fp8 on every device
        torch.index_select(rows.view(torch.uint8), 0, index, out=out.view(torch.uint8))
        return out


def _add_rows(
    out: torch.Tensor, index: torch.Tensor, rows: torch.Tensor, weights: torch.Tensor | None
) -> None:
    """out[index] += rows (* weights) in float32, in pieces that stay in the cache of a CPU."""
    step = rows.size(0) if rows.is_cuda else 64
    for start in range(0, rows.size(0), max(step, 1)):
        part = rows[start : start + step].float()
        if weights is not None:
            part *= weights[start : start + step].unsqueeze(1)
        out.index_add_(0, index[start : start + step], part)


@dataclass(frozen=True)
class _StandardHandle:
    token: torch.Tensor
    sent: list[int]
    received: list[int]


class _Standard(StandardExchange):
    def __init__(self, config: Config, world: World, transport: _Transport) -> None:
        self._config = config
        self._world = world
        self._transport = transport
        self._experts_per_rank = config.num_experts // world.size

    def dispatch(self, x: Payload, topk_idx: torch.Tensor, topk_weights: torch.Tensor) -> StandardReceived:
        payload = x
        layout = once_per_rank(topk_idx, self._config.num_experts, self._world.size)
        mine = torch.cat(
            [layout.per_rank.unsqueeze(1), layout.per_expert.view(self._world.size, self._experts_per_rank)],
            dim=1,
        )
        theirs = self._transport.counts(mine)
        sent: list[int] = layout.per_rank.tolist()
        received: list[int] = theirs[:, 0].tolist()

        values = self._send("x", payload.x, layout.token, sent, received)
        scales = (
            None
            if payload.scales is None
            else self._send("scales", payload.scales, layout.token, sent, received)
        )
        routing = torch.cat([topk_idx.to(torch.int32), topk_weights.view(torch.int32)], dim=1)
        routing = self._send("routing", routing, layout.token, sent, received)

        topk = self._config.num_topk
        local = routing[:, :topk].long() - self._world.rank * self._experts_per_rank
        elsewhere = (local < 0) | (local >= self._experts_per_rank)
        return StandardReceived(
            payload=Payload(values, scales),
            topk_idx=local.masked_fill_(elsewhere, -1),
            topk_weights=routing[:, topk:].contiguous().view(torch.float32).masked_fill_(elsewhere, 0.0),
            per_expert=theirs[:, 1:].sum(dim=0).tolist(),
            handle=_StandardHandle(layout.token, sent, received),
        )

    def combine(self, y: torch.Tensor, received: StandardReceived) -> torch.Tensor:
        handle: _StandardHandle = received.handle
        back = self._transport.exchange("combine", y, handle.received, handle.sent)
        out = self._transport.buffers.rows(
            "combined", self._config.tokens, self._config.hidden_size, torch.float32
        )
        out.zero_()
        _add_rows(out, handle.token, back, None)
        return out.to(torch.bfloat16)

    def _send(
        self, name: str, rows: torch.Tensor, token: torch.Tensor, sent: list[int], received: list[int]
    ) -> torch.Tensor:
        return self._transport.exchange(name, self._transport.gather(name, rows, token), sent, received)


@dataclass(frozen=True)
class _LowLatencyHandle:
    token: torch.Tensor
    selection: torch.Tensor
    slot: torch.Tensor
    sent: list[int]
    received: list[int]


class _LowLatency(LowLatencyExchange):
    def __init__(self, config: Config, world: World, transport: _Transport, device: torch.device) -> None:
        self._config = config
        self._world = world
        self._transport = transport
        self._local_experts = config.num_experts // world.size
        self._slots = config.tokens * world.size
        rows = self._local_experts * self._slots
        # the slots are reserved for the worst case, as DeepEP does; pages are touched where tokens arrive
        x_type = torch.float8_e4m3fn if config.fp8 else torch.bfloat16
        self._x = torch.empty((rows, config.hidden_size), dtype=x_type, device=device)
        self._scales: torch.Tensor | None = None
        if config.fp8:
            scale_type = torch.uint8 if config.use_ue8m0 else torch.float32
            width = config.hidden_size // CHANNELS_PER_SCALE
            self._scales = torch.empty((rows, width), dtype=scale_type, device=device)

    def dispatch(self, x: torch.Tensor, topk_idx: torch.Tensor) -> LowLatencyReceived:
        config = self._config
        layout = once_per_expert(topk_idx, config.num_experts, self._world.size)
        theirs = self._transport.counts(layout.per_expert.view(self._world.size, self._local_experts))
        sent: list[int] = layout.per_rank.tolist()
        received: list[int] = theirs.sum(dim=1).tolist()
        slot = self._slot_of_each_row(theirs).to(x.device)

        values, scales = quantize(x, config.round_scale, config.use_ue8m0) if config.fp8 else (x, None)
        self._send("x", values, layout.token, sent, received, slot, self._x)
        if scales is not None and self._scales is not None:
            self._send("scales", scales, layout.token, sent, received, slot, self._scales)
        return LowLatencyReceived(
            payload=Payload(
                self._shaped(self._x), None if self._scales is None else self._shaped(self._scales)
            ),
            per_expert=theirs.sum(dim=0).tolist(),
            handle=_LowLatencyHandle(layout.token, layout.selection, slot, sent, received),
        )

    def combine(
        self,
        y: torch.Tensor,
        topk_idx: torch.Tensor,
        topk_weights: torch.Tensor,
        received: LowLatencyReceived,
    ) -> torch.Tensor:
        handle: _LowLatencyHandle = received.handle
        rows = self._transport.gather("combine", y.view(-1, self._config.hidden_size), handle.slot)
        back = self._transport.exchange("combine", rows, handle.received, handle.sent)
        out = self._transport.buffers.rows(
            "combined", self._config.tokens, self._config.hidden_size, torch.float32
        )
        out.zero_()
        _add_rows(out, handle.token, back, topk_weights.flatten()[handle.selection])
        return out.to(torch.bfloat16)

    def _slot_of_each_row(self, theirs: torch.Tensor) -> torch.Tensor:
        """int64 [rows]: rows arrive by source rank, then expert; an expert's slots fill by source rank."""
        count = theirs.flatten()
        before_in_expert = (theirs.cumsum(dim=0) - theirs).flatten()
        first_slot = (
            torch.arange(self._local_experts).repeat(self._world.size) * self._slots + before_in_expert
        )
        first_row = count.cumsum(dim=0) - count
        return torch.arange(int(count.sum())) + (first_slot - first_row).repeat_interleave(count)

    def _send(
        self,
        name: str,
        rows: torch.Tensor,
        token: torch.Tensor,
        sent: list[int],
        received: list[int],
        slot: torch.Tensor,
        slots: torch.Tensor,
    ) -> None:
        arrived = self._transport.exchange(name, self._transport.gather(name, rows, token), sent, received)
        slots.view(torch.uint8).index_copy_(0, slot, arrived.view(torch.uint8))

    def _shaped(self, rows: torch.Tensor) -> torch.Tensor:
        return rows.view(self._local_experts, self._slots, rows.size(1))


def collective_standard(config: Config, world: World, device: torch.device) -> StandardExchange:
    """Standard mode over the default process group."""
    return _Standard(config, world, _Transport(world.size, _Buffers(device)))


def collective_low_latency(config: Config, world: World, device: torch.device) -> LowLatencyExchange:
    """Low-latency mode over the default process group."""
    return _LowLatency(config, world, _Transport(world.size, _Buffers(device)), device)


class _CollectiveBackend(Backend):
    """Common to gloo and nccl: one process group, scratch buffers."""

    def open(self) -> None:
        self.device_of_rank.use()
        self.device_of_rank.open_group(self.store, self.config.process_group_timeout_s)
        self.barrier()

    def close(self) -> None:
        import torch.distributed as dist

        if dist.is_initialized():
            dist.destroy_process_group()

    def standard(self) -> StandardExchange:
        return collective_standard(self.config, self.world, self.device)

    def low_latency(self) -> LowLatencyExchange:
        return collective_low_latency(self.config, self.world, self.device)

    def notes(self) -> list[str]:
        config = self.config
        unused = {
            "num_sms": config.num_sms is not None,
            "num_qps_per_rank": config.num_qps_per_rank is not None,
            "allow_nvlink_for_low_latency": config.allow_nvlink_for_low_latency,
            # NCCL joins hosts by NVLink by itself; the switch says by which links bytes are counted
            "allow_mnnvl": config.allow_mnnvl and (self.stand_in or self.world.num_hosts == 1),
        }
        return [
            f"{key} is set but means nothing to backend {self.name}" for key, given in unused.items() if given
        ]


class GlooBackend(_CollectiveBackend):
    """On CPUs, over TCP: shows that everything works, not how fast DeepEP is."""

    name = "gloo"
    stand_in = True

    def make_device(self) -> Device:
        return CpuDevice(self.world)

    def notes(self) -> list[str]:
        return ["gloo on CPUs is a stand-in: this is not DeepEP's figure, nor any GPU's", *super().notes()]


class NcclBackend(_CollectiveBackend):
    """On GPUs: the plain baseline beside DeepEP, with the gather and reduction that a model needs."""

    name = "nccl"
    stand_in = False

    def make_device(self) -> Device:
        return CudaDevice(self.world)

    @classmethod
    def refuse_unless_possible(cls, config: Config, world: World) -> None:
        refuse_unless_gpus(cls.name, world)

    def notes(self) -> list[str]:
        return [
            "plain NCCL all-to-all through torch.distributed: a baseline, not DeepEP's figure",
            *super().notes(),
        ]


def refuse_unless_gpus(name: str, world: World) -> None:
    """:raises RefusedError: fewer GPUs than ranks on this host"""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if gpus < world.local_size:
        raise RefusedError(
            f"backend = {name!r} needs one GPU per rank: host {world.host} has {gpus} visible for "
            f"{world.local_size} ranks; use backend 'gloo' there, or lower deepep_gpus_per_node"
        )
