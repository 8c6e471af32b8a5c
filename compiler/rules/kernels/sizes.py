"""How large DeepEP's buffers, tokens and chunks are: by the benchmark program's own formulas."""

from __future__ import annotations

from compiler.resources import program_code

program_code()

from deepep_bench.kernel_chunks import PATTERN as CHUNK_PATTERN  # noqa: E402
from deepep_bench.kernel_chunks import Chunks, largest_buffer, problem  # noqa: E402
from deepep_bench.kernel_sizes import (  # noqa: E402
    BARRIER,
    GROUP,
    INT_MAX,
    V1_DEFAULT_SMS,
    elastic_buffer,
    elastic_shared_memory,
    internode_token,
    low_latency_buffer,
    low_latency_received,
)

__all__ = [
    "BARRIER",
    "CHUNK_PATTERN",
    "GROUP",
    "INT_MAX",
    "V1_DEFAULT_SMS",
    "Chunks",
    "elastic_buffer",
    "elastic_shared_memory",
    "internode_token",
    "largest_buffer",
    "low_latency_buffer",
    "low_latency_received",
    "problem",
]
