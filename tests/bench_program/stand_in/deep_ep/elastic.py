"""Stand-in for V2's ElasticBuffer."""

from __future__ import annotations

import ctypes
import functools
import os
from dataclasses import dataclass

import torch

from .moving import INDEX, everybody, local_routing, received_rows, split, summed

SMS_WITHOUT_KERNELS = 16


@functools.cache
def compile_once():
    """Takes its time as DeepEP's compiler does: no other thread of Python runs meanwhile."""
    ctypes.PyDLL(None).sleep(int(os.environ.get("DEEPEP_STAND_IN_COMPILE_S", "0")))


@dataclass
class EPHandle:
    topk_idx: torch.Tensor
    num_recv_tokens_per_expert_list: list
    recv_src_metadata: torch.Tensor
    rows: list


class ElasticBuffer:
    def __init__(
        self,
        group,
        num_max_tokens_per_rank=0,
        hidden=0,
        num_topk=0,
        prefer_overlap_with_compute=True,
        sl_idx=3,
        num_allocated_qps=0,
        explicitly_destroy=False,
    ):
        assert explicitly_destroy
        assert sl_idx == 0
        self.num_allocated_qps = num_allocated_qps or 129
        self.rank, self.size = group.rank(), group.size()
        self.tokens = num_max_tokens_per_rank

    def destroy(self):
        self.size = 0

    @staticmethod
    def get_buffer_size_hint(group, num_max_tokens_per_rank, hidden, num_topk=0):
        return group.size() * num_max_tokens_per_rank * hidden * 2

    def get_logical_domain_size(self):
        return 1, self.size

    def get_physical_domain_size(self):
        return 1, self.size

    def get_theoretical_num_sms(self, num_experts, num_topk):
        return 64

    def get_theoretical_num_qps(self, num_sms):
        return 129

    def barrier(self):
        everybody(None)

    def dispatch(
        self,
        x,
        topk_idx=None,
        topk_weights=None,
        num_experts=None,
        num_max_tokens_per_rank=None,
        num_sms=0,
        num_qps=0,
        handle=None,
        do_cpu_sync=None,
    ):
        assert num_qps <= self.num_allocated_qps
        compile_once()
        values, scales = split(x)
        if handle is not None:
            assert topk_idx is None
            assert not do_cpu_sync
            values, scales = zip(*everybody((values, scales)), strict=True)
            return received_rows(values, scales, handle.rows), None, None, handle, None
        assert topk_idx.dtype == INDEX
        assert num_max_tokens_per_rank == self.tokens >= values.size(0)
        given = everybody((values, scales, topk_idx, topk_weights))
        values, scales, idx, weights = zip(*given, strict=True)
        local = num_experts // self.size
        first = self.rank * local
        rows = [
            (source, token)
            for source in range(self.size)
            for token in range(idx[source].size(0))
            if ((idx[source][token] >= first) & (idx[source][token] < first + local)).any()
        ][::-1]  # any order
        got_idx, got_weights, counts = local_routing(idx, weights, rows, first, local, False)
        metadata = torch.zeros((len(rows), 2 + topk_idx.size(1)), dtype=torch.int32)
        metadata[:, 0] = torch.tensor([source * self.tokens + token for source, token in rows])
        handle = EPHandle(topk_idx.clone(), counts, metadata, rows)
        return received_rows(values, scales, rows), got_idx, got_weights, handle, None

    def combine(self, x, handle, topk_weights=None, num_sms=0, num_qps=0):
        if num_sms == SMS_WITHOUT_KERNELS:
            raise RuntimeError('Assertion exception (compiler.hpp:239): false and "NVCC compilation failed"')
        assert x.dtype == torch.bfloat16
        return summed(x, handle.rows, handle.topk_idx.size(0), x.size(1)), None, None
