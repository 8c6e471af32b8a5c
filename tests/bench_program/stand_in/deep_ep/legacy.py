"""Stand-in for V1's Buffer."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from pathlib import Path

import torch
from deepep_bench.quantize import quantize

from .moving import INDEX, everybody, local_routing, received_rows, split, summed


def hold_the_lock():
    """As DeepEP's CPU waits for ranks that do not come: no thread and no signal handler of Python runs."""
    sum(range(10**11))


class Config:
    def __init__(self, num_sms, nvl_send, nvl_recv, rdma_send=6, rdma_recv=128):
        assert num_sms >= 0
        self.num_sms = num_sms

    def get_nvl_buffer_size_hint(self, hidden_bytes, num_ranks):
        more = int(os.environ.get("DEEPEP_STAND_IN_BUFFER_BYTES", "0"))
        return self.num_sms // 2 * num_ranks * 256 * hidden_bytes + more

    def get_rdma_buffer_size_hint(self, hidden_bytes, num_ranks):
        return 0


class Buffer:
    num_sms = 20

    def __init__(
        self,
        group,
        num_nvl_bytes=0,
        num_rdma_bytes=0,
        low_latency_mode=False,
        num_qps_per_rank=24,
        allow_nvlink_for_low_latency_mode=True,
        allow_mnnvl=False,
        explicitly_destroy=False,
    ):
        assert explicitly_destroy
        self.rank, self.size = group.rank(), group.size()
        never, _, how = os.environ.get("DEEPEP_STAND_IN_OPENS_NEVER", "").partition(":")
        if never:
            opening = Path(os.environ["DEEPEP_STAND_IN_OPENING"])
            (opening / str(self.rank)).touch()
            # Nobody is gone before all others are here.
            while never == str(self.rank) and len(list(opening.iterdir())) < self.size:
                time.sleep(0.05)
        if never == str(self.rank):
            os.kill(os.getpid(), signal.Signals[how])
        # As NVSHMEM connects many ranks: with Python's lock held.
        ctypes.PyDLL(None).sleep(int(os.environ.get("DEEPEP_STAND_IN_OPEN_S", "0")))
        self.low_latency_mode = low_latency_mode
        assert num_rdma_bytes if low_latency_mode else num_nvl_bytes
        self.num_qps_per_rank = num_qps_per_rank
        self.dispatches = 0
        # Rank 0 waits in vain in this dispatch, in which rank 1 fails if it has to, and everybody in destroy.
        self.waits_at = int(os.environ.get("DEEPEP_STAND_IN_WAITS_AT", 0))
        self.raises = "DEEPEP_STAND_IN_RAISES" in os.environ

    def destroy(self):
        if self.waits_at:
            hold_the_lock()
        self.size = 0

    @staticmethod
    def set_num_sms(new_num_sms):
        assert new_num_sms % 2 == 0
        Buffer.num_sms = new_num_sms

    @staticmethod
    def get_dispatch_config(num_ranks):
        assert num_ranks in (2, 4, 8), f"Unsupported number of EP ranks: {num_ranks}"
        return Config(Buffer.num_sms, 6, 256)

    get_combine_config = get_dispatch_config

    @staticmethod
    def get_low_latency_rdma_size_hint(num_max_dispatch_tokens_per_rank, hidden, num_ranks, num_experts):
        return 4 * num_experts * num_max_dispatch_tokens_per_rank * 2 * hidden

    def get_dispatch_layout(self, topk_idx, num_experts):
        assert topk_idx.dtype == INDEX
        rank_of = topk_idx // (num_experts // self.size)
        in_rank = torch.stack([(rank_of == rank).any(dim=1) for rank in range(self.size)], dim=1)
        per_expert = torch.bincount(topk_idx.flatten(), minlength=num_experts).int()
        return in_rank.sum(dim=0).int(), None, per_expert, in_rank, None

    def dispatch(
        self,
        x,
        handle=None,
        num_tokens_per_rank=None,
        num_tokens_per_rdma_rank=None,
        is_token_in_rank=None,
        num_tokens_per_expert=None,
        topk_idx=None,
        topk_weights=None,
        config=None,
    ):
        assert not self.low_latency_mode
        self.dispatches += 1
        if self.dispatches == self.waits_at and self.rank == 1 and self.raises:
            raise RuntimeError("the stand-in fails as it was told")
        if self.dispatches == self.waits_at and self.rank == 0:
            hold_the_lock()
        values, scales = split(x)
        if handle is not None:
            assert topk_idx is None
            assert topk_weights is None
            values, scales = zip(*everybody((values, scales)), strict=True)
            return received_rows(values, scales, handle[5]), None, None, None, None, None
        assert topk_idx.dtype == INDEX
        assert num_tokens_per_rank.dtype == num_tokens_per_expert.dtype == torch.int32
        given = everybody((values, scales, topk_idx, topk_weights, is_token_in_rank))
        values, scales, idx, weights, in_rank = zip(*given, strict=True)
        rows = [
            (source, token)
            for source in range(self.size)
            for token in in_rank[source][:, self.rank].nonzero().flatten().tolist()
        ]
        local = num_tokens_per_expert.numel() // self.size
        got_idx, got_weights, counts = local_routing(idx, weights, rows, self.rank * local, local, True)
        prefix = torch.stack([each.sum(dim=0) for each in in_rank]).cumsum(dim=0).int()
        tokens = torch.tensor([token for _, token in rows], dtype=torch.int32)
        handle = (prefix, None, None, tokens, is_token_in_rank, rows)
        return received_rows(values, scales, rows), got_idx, got_weights, counts, handle, None

    def combine(self, x, handle, topk_weights=None, config=None):
        assert x.dtype == torch.bfloat16
        return summed(x, handle[5], handle[4].size(0), x.size(1)), None, None

    def low_latency_dispatch(
        self,
        x,
        topk_idx,
        num_max_dispatch_tokens_per_rank,
        num_experts,
        cumulative_local_expert_recv_stats=None,
        use_fp8=True,
        round_scale=False,
        use_ue8m0=False,
        async_finish=False,
        return_recv_hook=False,
    ):
        assert self.low_latency_mode
        assert x.dtype == torch.bfloat16
        assert topk_idx.dtype == INDEX
        assert self.size * num_max_dispatch_tokens_per_rank % 4 == 0
        assert not (use_ue8m0 and not round_scale)
        tokens, hidden = num_max_dispatch_tokens_per_rank, x.size(1)
        given = everybody((x, topk_idx))
        local, slots = num_experts // self.size, self.size * tokens
        out = torch.full((local, slots, hidden), float("nan"), dtype=torch.bfloat16)
        info = torch.full((local, slots), -1, dtype=torch.int32)
        ranges = torch.zeros((local, self.size), dtype=torch.int64)
        counts = torch.zeros(local, dtype=torch.int32)
        for expert in range(local):
            wanted = self.rank * local + expert
            for source in reversed(range(self.size)):  # any order of ranks, any order of a rank's tokens
                theirs, idx = given[source]
                hits = (idx == wanted).any(dim=1).nonzero().flatten().flip(0)
                first = int(counts[expert])
                out[expert, first : first + hits.numel()] = theirs[hits]
                info[expert, first : first + hits.numel()] = hits.int()
                ranges[expert, source] = (first << 32) | hits.numel()
                counts[expert] += hits.numel()
        received = out
        if use_fp8:
            values, scales = quantize(out.view(-1, hidden), round_scale, use_ue8m0)
            scales = (scales.view(torch.int32) if use_ue8m0 else scales).view(local, slots, -1)
            received = values.view(out.shape), scales.transpose(1, 2).contiguous().transpose(1, 2)
        handle = (info, ranges, tokens, hidden, num_experts)
        return received, counts, handle, None, (lambda: None) if return_recv_hook else None

    def low_latency_combine(
        self,
        x,
        topk_idx,
        topk_weights,
        handle,
        use_logfmt=False,
        zero_copy=False,
        async_finish=False,
        return_recv_hook=False,
    ):
        info, ranges, _, hidden, _ = handle
        assert topk_idx.dtype == INDEX
        assert x.dtype == torch.bfloat16
        assert x.shape == (*info.shape, hidden)
        assert topk_weights.dtype == torch.float32
        # DeepEP casts only blocks of such values; what was not received may be anything
        filled = torch.arange(x.size(1)) < (ranges & 0xFFFFFFFF).sum(dim=1, keepdim=True)
        assert not use_logfmt or x[filled].abs().max() < 1
        out = torch.zeros((topk_idx.size(0), hidden))
        local = info.size(0)
        for owner, (y, theirs, spans) in enumerate(everybody((x, info, ranges))):
            for expert in range(local):
                span = int(spans[expert, self.rank])
                for slot in range(span >> 32, (span >> 32) + (span & 0xFFFFFFFF)):
                    token = int(theirs[expert, slot])
                    weight = topk_weights[token][topk_idx[token] == owner * local + expert].sum()
                    out[token] += weight * y[expert, slot].float()
        return out.to(torch.bfloat16), None, (lambda: None) if return_recv_hook else None


class OldBuffer:
    """As it was in May 2025: what came later is missing, and its end is its destructor's."""

    set_num_sms = Buffer.set_num_sms
    get_dispatch_config = Buffer.get_dispatch_config
    get_combine_config = Buffer.get_combine_config
    get_low_latency_rdma_size_hint = Buffer.get_low_latency_rdma_size_hint

    def __init__(self, group, num_nvl_bytes=0, num_rdma_bytes=0, low_latency_mode=False, num_qps_per_rank=12):
        self._new = Buffer(
            group, num_nvl_bytes, num_rdma_bytes, low_latency_mode, num_qps_per_rank, explicitly_destroy=True
        )
        self.get_dispatch_layout = self._new.get_dispatch_layout
        self.dispatch = self._new.dispatch
        self.combine = self._new.combine

    def low_latency_dispatch(
        self,
        x,
        topk_idx,
        num_max_dispatch_tokens_per_rank,
        num_experts,
        use_fp8=True,
        async_finish=False,
        return_recv_hook=False,
    ):
        return self._new.low_latency_dispatch(
            x,
            topk_idx,
            num_max_dispatch_tokens_per_rank,
            num_experts,
            use_fp8=use_fp8,
            return_recv_hook=return_recv_hook,
        )

    def low_latency_combine(
        self, x, topk_idx, topk_weights, handle, async_finish=False, return_recv_hook=False
    ):
        return self._new.low_latency_combine(
            x, topk_idx, topk_weights, handle, return_recv_hook=return_recv_hook
        )
