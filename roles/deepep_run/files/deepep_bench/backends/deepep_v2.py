"""DeepEP V2, ``deep_ep.ElasticBuffer``: standard mode. Kernels are compiled when first called."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Callable

import torch

from ..config import Config
from ..device import Device
from ..errors import RefusedError
from ..jit_cache import settle as settle_jit_cache
from ..kernel_limits import refuse, v2_problems
from ..own_test import PROFILED_APART, PROFILED_CALLS, kernel_parts, mean, seen
from ..tuning import Candidate, Tuned, best, runs, slowest_mean, sm_counts
from ..world import World
from . import package
from .base import (
    Inputs,
    LowLatencyExchange,
    OwnTest,
    OwnTests,
    Payload,
    StandardExchange,
    StandardReceived,
)
from .deepep_base import DeepEPBase, Indices, gpu_sms, packed, unpacked

# what DeepEP and the driver say when a kernel does not exist for a number of SMs: not every one divides well
_NO_SUCH_KERNEL = (
    "compilation failed",
    "number of channels or sms",
    "combine sm count",
    "too many blocks in cooperative launch",
    "too many resources requested for launch",
)
_SERVICE_LEVEL = 0  # as test_ep has it
_ORDER = "each token's experts in the order of an unsorted top-k"
_KERNELS = {
    "dispatch": {"kernel": "dispatch_impl", "epilogue": "dispatch_copy_epilogue_impl"},
    "combine": {"kernel": "combine_impl", "epilogue": "combine_reduce_epilogue_impl"},
}


class DeepEPV2Backend(DeepEPBase):
    name = "deepep_v2"

    @classmethod
    def refuse_unless_possible(cls, config: Config, world: World) -> None:
        found = package.load()
        if not found.elastic:
            raise RefusedError(
                f"backend = 'deepep_v2': the installed deep_ep ({found.version}) has no ElasticBuffer; use "
                "deepep_v1, or an image with DeepEP 2"
            )
        refuse(v2_problems(config, world, found.limits, gpu_sms(world)))
        super().refuse_unless_possible(config, world)

    @property
    def hierarchical(self) -> bool:
        return True

    def nvlink_domain(self, baseline: bool = False) -> int:
        ranks: int = self._buffer.get_physical_domain_size()[1]  # as NCCL found it
        return ranks

    def _prepare_environment(self) -> None:
        if self.world.num_hosts == 1:
            self._set_default("EP_DISABLE_GIN", "1", "one host needs no network")
        told = settle_jit_cache(self._package.build(), self._architecture(), os.environ)
        if told:
            self._settled.append(told)

    def _architecture(self) -> str:
        if self.device.type != "cuda":
            return self.device.type
        return "sm_{}{}".format(*torch.cuda.get_device_capability(self.device))

    def _open_buffer(self, group: Any) -> Any:
        elastic, config = self._package.module.ElasticBuffer, self.config
        sizes = {
            "num_max_tokens_per_rank": config.tokens,
            "hidden": config.hidden_size,
            "num_topk": config.num_topk,
        }
        self._take(int(elastic.get_buffer_size_hint(group, **sizes)))
        # as its own test: every SM that helps, since nothing is computed meanwhile; its service level; and as
        # many queue pairs as will be used
        buffer = elastic(
            group,
            prefer_overlap_with_compute=False,
            explicitly_destroy=True,
            sl_idx=_SERVICE_LEVEL,
            num_allocated_qps=config.num_qps_per_rank or 0,
            **sizes,
        )
        self._sms = config.num_sms or buffer.get_theoretical_num_sms(config.num_experts, config.num_topk)
        self._qps = config.num_qps_per_rank or buffer.get_theoretical_num_qps(self._sms)
        self._sms_tried = sm_counts(config.num_sms, self._sms, self.device)
        return buffer

    def standard(self) -> StandardExchange:
        index_type = self._package.module.topk_idx_t
        self._standard = _Standard(
            self.config,
            self.world,
            self._buffer,
            self.device_of_rank,
            index_type,
            {"num_sms": self._sms, "num_qps": self._qps},
            self._sms_tried,
        )
        return self._standard

    def low_latency(self) -> LowLatencyExchange:
        raise RefusedError("mode = low_latency: V2 has no low-latency kernels; use deepep_v1")

    def effective(self) -> dict[str, Any]:
        network = self.nvlink_domain() < self.world.size
        return {
            "num_sms": self._standard.num_sms,
            "num_qps_per_rank": self._qps if network else None,
            "num_allocated_qps": self._buffer.num_allocated_qps if network else None,
            "sl_idx": int(os.environ.get("EP_OVERRIDE_RDMA_SL", _SERVICE_LEVEL)) if network else None,
            "buffer_bytes": self.buffer_bytes,
            "logical_domain": "{} x {}".format(*self._buffer.get_logical_domain_size()),
        }


@dataclass(frozen=True)
class _Dispatched:
    """The five values of ``ElasticBuffer.dispatch``, less the event."""

    x: Any
    topk_idx: torch.Tensor
    topk_weights: torch.Tensor
    handle: Any


class _Standard(StandardExchange):
    can_repeat = True
    compiles = True
    kernels = _KERNELS

    def __init__(
        self,
        config: Config,
        world: World,
        buffer: Any,
        device: Device,
        index_type: torch.dtype,
        resources: dict[str, int],
        sms_tried: list[int],
    ) -> None:
        self._config = config
        self._world = world
        self._buffer = buffer
        self._device = device
        self._indices = Indices(index_type)
        self._resources = resources
        self._sms_tried = sms_tried

    @property
    def num_sms(self) -> int:
        """As used now."""
        return self._resources["num_sms"]

    def prepare(self, payload: Payload) -> Any:
        return packed(payload)

    def dispatch(self, x: Any, topk_idx: torch.Tensor, topk_weights: torch.Tensor) -> _Dispatched:
        received, idx, weights, handle, _ = self._buffer.dispatch(
            x,
            topk_idx=self._indices(topk_idx),
            topk_weights=topk_weights,
            num_experts=self._config.num_experts,
            num_max_tokens_per_rank=self._config.tokens,
            do_cpu_sync=True,
            **self._resources,
        )
        return _Dispatched(received, idx, weights, handle)

    def readable(self, received: _Dispatched) -> StandardReceived:
        idx = received.topk_idx.long()
        return StandardReceived(
            payload=unpacked(received.x),
            topk_idx=idx,
            # V2 passes the weights of all experts on; those of other ranks mean nothing here
            topk_weights=received.topk_weights.masked_fill(idx < 0, 0.0),
            per_expert=list(received.handle.num_recv_tokens_per_expert_list),
            handle=received.handle,
            source=received.handle.recv_src_metadata[:, 0].long(),
        )

    def repeat(self, x: Any, received: _Dispatched) -> _Dispatched:
        again, idx, _, _, _ = self._buffer.dispatch(x, handle=received.handle, **self._resources)
        return _Dispatched(
            again, received.topk_idx if idx is None else idx, received.topk_weights, received.handle
        )

    def combine(self, y: torch.Tensor, received: _Dispatched) -> torch.Tensor:
        combined: torch.Tensor = self._buffer.combine(
            y, handle=received.handle, topk_weights=received.topk_weights, **self._resources
        )[0]
        return combined

    def warm_up(
        self, x: Any, topk_idx: torch.Tensor, topk_weights: torch.Tensor, tick: Callable[[str], None]
    ) -> None:
        def everything() -> None:
            self._buffer.barrier()
            received = self.dispatch(x, topk_idx, topk_weights)
            rows = unpacked(self.repeat(x, received).x).x.shape
            self.combine(torch.zeros(rows, dtype=torch.bfloat16, device=topk_idx.device), received)

        asked = self.num_sms
        if not self._config.enable_tuning:
            tick(f"compiling for {asked} SMs")
            everything()
            return
        usable = []
        for sms in self._sms_tried:
            tick(f"compiling for {sms} SMs")  # each number has kernels of its own
            self._use(sms)
            if runs(everything, _NO_SUCH_KERNEL, self._device):
                usable.append(sms)
        if not usable:
            raise RefusedError(
                f"enable_tuning = true: DeepEP has no kernels for any of {self._sms_tried} SMs"
            )
        self._sms_tried = usable
        self._use(asked if asked in usable else usable[-1])

    def tune(self, inputs: Inputs, tick: Callable[[str], None]) -> Tuned | None:
        candidates = []
        for sms in self._sms_tried:
            tick(f"tuning with {sms} SMs")
            self._use(sms)
            received = self.dispatch(inputs.x, inputs.topk_idx, inputs.topk_weights)

            def dispatch(received: _Dispatched = received) -> object:
                return self.repeat(inputs.x, received)

            def combine(received: _Dispatched = received) -> object:
                return self.combine(inputs.y, received)

            names = ("dispatch", "combine")
            for name, seconds in zip(names, slowest_mean(self._device, (dispatch, combine))):
                candidates.append(Candidate(name, sms, None, seconds))
        tuned = best(candidates)
        self._use(tuned.num_sms)
        return tuned

    def _use(self, num_sms: int) -> None:
        self._resources = {**self._resources, "num_sms": num_sms}

    def test_order(self, topk_idx: torch.Tensor) -> torch.Tensor:
        return order_of_unsorted_topk(topk_idx)

    def own_tests(self, inputs: Inputs, tick: Callable[[str], None]) -> OwnTests:
        received: _Dispatched = inputs.received
        rows = inputs.y.size(0)
        values = received.x if isinstance(received.x, tuple) else (received.x,)
        routing = (received.topk_idx, received.topk_weights)
        sizes = {
            "dispatch": _row_bytes(*values, *routing),
            "combine": _row_bytes(inputs.y, received.topk_weights),
        }
        scaleout, _ = self._buffer.get_logical_domain_size()
        domains = inputs.topk_idx // (self._config.num_experts // scaleout)
        sent = sum(int((domains == each).any(dim=1).sum()) for each in range(scaleout)) if scaleout > 1 else 0

        order = self.test_order(inputs.topk_idx)
        idx, weights = inputs.topk_idx.gather(1, order), inputs.topk_weights.gather(1, order)
        tested = self.dispatch(inputs.x, idx, weights)

        def dispatch() -> object:
            return self.dispatch(inputs.x, idx, weights)

        def cached() -> object:
            return self.repeat(inputs.x, tested)

        def combine() -> object:
            return self.combine(inputs.y, received)

        tests = OwnTests()
        for name, operation, call, text in (
            ("dispatch", "dispatch", dispatch, f"with counts and CPU sync, {_ORDER}"),
            ("dispatch/cached", "dispatch", cached, f"cached handle, {_ORDER}"),
            ("combine", "combine", combine, "with weights"),
        ):
            tick(f"as DeepEP's own test: {name}")
            kernels = _KERNELS[operation]
            times = self._device.kernel_times(
                call,
                kernels,
                PROFILED_CALLS,
                before_all=lambda: None,
                before_each=self._before_each,
            )
            whole, missing = seen(times, kernels, PROFILED_CALLS)
            if missing:
                tests.missing[name] = list(missing.values())
            if "kernel" not in whole:
                continue
            parts = {key: mean(each) for key, each in whole.items()}
            parts.update(kernel_parts(whole["kernel"]))
            size = sizes[operation]
            nvl, rdma = rows * size, sent * size if scaleout > 1 else None
            tests.found[name] = OwnTest("v2", text, PROFILED_APART, parts["kernel"], nvl, rdma, parts)
        return tests

    def _before_each(self) -> None:
        self._device.align()
        self._buffer.barrier()


def _row_bytes(*tensors: torch.Tensor) -> float:
    """Bytes of one row over all tensors, as V2's test counts them: routing included."""
    return float(sum(each[0].numel() * each.element_size() for each in tensors if each.size(0)))


def order_of_unsorted_topk(topk_idx: torch.Tensor) -> torch.Tensor:
    """Where each token's experts stand now, in the order in which V2's test has them.

    The kernel sends in the order of the selection, and the time depends on it: by score, ranks come in any
    order; the test's unsorted top-k on a GPU gives ascending experts but for the one of the lowest score,
    which comes last, so that all ranks send to the first one first.
    """
    order = topk_idx[:, :-1].argsort(dim=1)
    last = torch.full_like(order[:, :1], topk_idx.size(1) - 1)
    return torch.cat([order, last], dim=1)
