"""NCCL beside DeepEP in the same run: the same routing and bytes, on GPUs.

Three baselines, since one alone misleads: the all-to-all of the bytes that DeepEP moves, ready packed; the
same with the gather and scatter that a model needs around it; both with the counts known, as a cached handle
knows them. And a dispatch that exchanges the counts first. All run on the process group of DeepEP.
"""

from __future__ import annotations

from typing import Any, Callable

import torch
import torch.distributed as dist

from .backends.base import Payload
from .backends.collective import collective_low_latency, collective_standard
from .device import Device
from .graphs import CapturedCalls
from .layout import once_per_expert, once_per_rank
from .modes.base import Measurement, Mode, run_experts
from .modes.low_latency import CALLS_PER_GRAPH
from .modes.standard import StandardMode
from .quantize import quantize
from .reference import Checked

ALL_TO_ALL = "alltoall"
GATHERED = "gather_scatter"
COUNTED = "counts"


class Baselines:
    """NCCL's measurements with the inputs of ``mode``. Make it when DeepEP's own are done."""

    def __init__(self, mode: Mode, device_of_rank: Device) -> None:
        self._mode = mode
        self._device = device_of_rank
        self._standard = isinstance(mode, StandardMode)
        config, world, device = mode.config, mode.world, mode.device
        lay_out = once_per_rank if self._standard else once_per_expert
        layout = lay_out(mode.topk_idx, config.num_experts, world.size)
        theirs = torch.empty_like(layout.per_rank)
        dist.all_to_all_single(theirs, layout.per_rank)
        self._sent: list[int] = layout.per_rank.tolist()
        self._received: list[int] = theirs.tolist()
        self._layout = layout
        self._parts = self._payload()
        self._source = torch.cat([_bytes(each) for each in self._parts], dim=1)
        self._rows = self._source[layout.token]
        width, hidden = self._source.size(1), config.hidden_size
        self._arrived = torch.empty((sum(self._received), width), dtype=torch.uint8, device=device)
        self._partial = torch.empty((sum(self._received), hidden), dtype=torch.bfloat16, device=device)
        self._returned = torch.empty((sum(self._sent), hidden), dtype=torch.bfloat16, device=device)
        self._sum = torch.empty((config.tokens, hidden), dtype=torch.float32, device=device)
        make = collective_standard if self._standard else collective_low_latency
        self._exchange: Any = make(config, world, device)
        self._y = torch.empty(0)
        # the same for every dispatch of this routing; kept, since graphs go on reading it
        self._slot = torch.empty(0, dtype=torch.int64)
        self._slots: list[torch.Tensor] = []
        self._graphs: dict[str, CapturedCalls] = {}

    def measurements(self) -> list[Measurement]:
        """Call ``check`` first."""
        found = []
        for name, (operation, variant, call) in self._calls().items():
            graph = self._graphs.get(name)
            timing, count = ("graph", graph.calls) if graph else (self._device.timing, 1)
            found.append(
                Measurement(
                    operation,
                    variant,
                    timing,
                    graph.replay if graph else call,
                    count,
                    primary=False,
                    baseline=True,
                )
            )
        return found

    def check(self) -> dict[str, Checked]:
        """Everything that is measured; by Measurement.name.

        :raises WrongDataError: the first difference
        """
        reference, found = self._mode.reference, {}
        received = self._exchange.readable(self._count_and_dispatch())
        if self._standard:
            found[_name("dispatch", COUNTED)] = reference.check_standard_dispatch(received)
            self._y = self._mode.partial_sums(received)  # type: ignore[attr-defined]
            self._partial.copy_(self._y)  # rows come in the same order: source rank, then token
        else:
            found[_name("dispatch", COUNTED)] = reference.check_low_latency_dispatch(received)
            self._run_experts(received)
        self._capture()
        for variant in (ALL_TO_ALL, GATHERED):
            self._arrived.fill_(0xFF)  # nan in every type: what is not written shows
            self._run(_name("dispatch", variant))
            found[_name("dispatch", variant)] = reference.check_rows_in_order(self._arrived_payload())
        for part, slots in zip(self._arrived_parts(), self._slots):
            if not torch.equal(slots.view(-1, part.size(1))[self._slot], part):
                raise RuntimeError("the scatter of the baseline does not fill the slots")
        for variant in (GATHERED, ALL_TO_ALL):
            self._returned.fill_(float("nan"))
            combined = self._run(_name("combine", variant))
            combined = combined if variant == GATHERED else self._added()
            found[_name("combine", variant)] = reference.check_combine(combined)
        return found

    def release(self) -> None:
        """Drop the graphs: the process group cannot end while they hold its collectives."""
        for graph in self._graphs.values():
            graph.reset()
        self._graphs.clear()

    def _calls(self) -> dict[str, tuple[str, str, Callable[[], Any]]]:
        calls: tuple[tuple[str, str, Callable[[], Any]], ...] = (
            ("dispatch", ALL_TO_ALL, self._move_out),
            ("dispatch", GATHERED, self._gather_and_move_out),
            ("dispatch", COUNTED, self._count_and_dispatch),
            ("combine", ALL_TO_ALL, self._move_back),
            ("combine", GATHERED, self._move_back_and_add),
        )
        return {_name(operation, variant): (operation, variant, call) for operation, variant, call in calls}

    def _capture(self) -> None:
        """Low latency is timed as a graph; its baselines then too, but for the one that asks the CPU."""
        if self._standard or self._graphs or not self._device.graphs:
            return
        for name, (_, variant, call) in self._calls().items():
            if variant != COUNTED:
                call()
                self._graphs[name] = CapturedCalls(call, CALLS_PER_GRAPH)

    def _run(self, name: str) -> Any:
        """What is timed: the graph where there is one."""
        graph = self._graphs.get(name)
        if graph is None:
            result = self._calls()[name][2]()
        else:
            graph.replay()
            result = graph.result
        self._device.synchronize()
        return result

    # ---- the all-to-all alone

    def _move_out(self) -> None:
        dist.all_to_all_single(
            self._arrived, self._rows, output_split_sizes=self._received, input_split_sizes=self._sent
        )

    def _move_back(self) -> None:
        dist.all_to_all_single(
            _bytes(self._returned),
            _bytes(self._partial),
            output_split_sizes=self._sent,
            input_split_sizes=self._received,
        )

    # ---- with what a model needs around it

    def _gather_and_move_out(self) -> None:
        """Standard: gather, all-to-all. Low latency: cast, gather, all-to-all, scatter into the slots."""
        source = self._source
        if not self._standard and self._mode.config.fp8:
            source = torch.cat([_bytes(each) for each in self._payload()], dim=1)
        torch.index_select(source, 0, self._layout.token, out=self._rows)
        self._move_out()
        if not self._standard:
            for part, slots in zip(self._arrived_parts(), self._slots):
                slots.view(-1, part.size(1)).index_copy_(0, self._slot, part)

    def _move_back_and_add(self) -> torch.Tensor:
        """Standard: all-to-all, sum. Low latency: gather from the slots, all-to-all, weighted sum."""
        if not self._standard:
            flat = self._y.view(-1, self._y.size(2))
            torch.index_select(flat, 0, self._slot, out=self._partial)
        self._move_back()
        return self._added()

    def _added(self) -> torch.Tensor:
        mode = self._mode
        rows = self._returned.float()
        if not self._standard:
            rows *= mode.topk_weights.flatten()[self._layout.selection].unsqueeze(1)
        return self._sum.zero_().index_add_(0, self._layout.token, rows).to(torch.bfloat16)

    def _count_and_dispatch(self) -> Any:
        mode = self._mode
        if self._standard:
            payload = Payload(self._parts[0], self._parts[1] if len(self._parts) > 1 else None)
            return self._exchange.dispatch(payload, mode.topk_idx, mode.topk_weights)
        return self._exchange.dispatch(mode.x, mode.topk_idx)

    def _payload(self) -> list[torch.Tensor]:
        config, x = self._mode.config, self._mode.x
        return list(quantize(x, config.round_scale, config.use_ue8m0)) if config.fp8 else [x]

    def _arrived_parts(self) -> list[torch.Tensor]:
        """Bytes of the values, and of the scales where there are some."""
        widths = [part.size(1) * part.element_size() for part in self._parts]
        return list(self._arrived.split(widths, dim=1))

    def _arrived_payload(self) -> Payload:
        parts = [
            arrived.contiguous().view(part.dtype) for arrived, part in zip(self._arrived_parts(), self._parts)
        ]
        return Payload(parts[0], parts[1] if len(parts) > 1 else None)

    def _run_experts(self, received: Any) -> None:
        """The experts' results in their slots, and as rows in the order in which they arrived."""
        x, scales = received.payload.x, received.payload.scales
        if not self._slots:
            self._slot = received.handle.slot
            self._y = torch.empty(x.shape, dtype=torch.bfloat16, device=x.device)
            self._slots = [_bytes(each.view(-1, each.size(2))) for each in (x, scales) if each is not None]
        factors = self._mode.factors[torch.div(self._slot, x.size(1), rounding_mode="floor")]
        flat = self._y.view(-1, x.size(2))
        run_experts(
            x.flatten(0, 1),
            torch.empty(0) if scales is None else scales.flatten(0, 1),
            self._slot,
            factors,
            flat,
        )
        self._partial.copy_(flat[self._slot])


def _name(operation: str, variant: str) -> str:
    return f"{operation}/nccl_{variant}"


def _bytes(rows: torch.Tensor) -> torch.Tensor:
    return rows.view(torch.uint8)
