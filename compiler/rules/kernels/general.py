"""What concerns every kernel: fp8 scales, memory, time, and whether a figure can be compared."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.rules.kernels import sizes
from compiler.rules.kernels.model import Kernel, Problem, Run
from compiler.rules.kernels.neighbours import multiples, one_of


def fp8_alignment(run: Run) -> Iterator[Problem]:
    """hidden_size % 128 == 0 with fp8."""
    step: int = run.limit("fp8-hidden-alignment")
    hidden = run.arguments.hidden_size
    if run.arguments.data_type == "fp8" and hidden % step:
        yield Problem(
            ("cmd_args", "hidden_size"),
            f"hidden_size = {hidden} with fp8: no multiple of {step}, the channels of one scale",
            f"use {one_of(multiples(hidden, step))}, or data_type = bfloat16",
        )


def buffers_exceed_gpu(run: Run) -> Iterator[Problem]:
    """Buffers of less than 80 GB."""
    limit: int = run.limit("buffers-exceed-gpu")
    a = run.arguments
    if run.kernel is Kernel.V1_LOW_LATENCY:
        size = sizes.low_latency_buffer(a.tokens, a.hidden_size, a.num_experts) + sizes.low_latency_received(
            a.tokens, a.hidden_size, a.num_experts, run.element_bytes
        )
    else:
        size = sizes.elastic_buffer(
            a.tokens, a.hidden_size, a.num_topk, run.element_bytes, run.hosts, run.ranks_per_host
        )
    if size >= limit:
        yield Problem(
            ("cmd_args", "tokens"),
            f"{a.tokens} tokens on {run.shape} need buffers of {size // 10**9} GB per GPU, and a GPU "
            "of 80 GB has less",
            f"use at most {max(a.tokens * limit // size, 1)} tokens",
        )


def time_limit(run: Run) -> Iterator[Problem]:
    """time_limit is longer than DeepEP's timeout."""
    v1, v2 = run.limit("time-limit-below-timeout")
    timeout: int = v2 if run.kernel is Kernel.V2 else v1
    limit = run.facts.time_limit_s
    if limit is not None and limit <= timeout:
        yield Problem(
            ("time_limit",),
            f"time_limit is {limit} s, and DeepEP gives up waiting after {timeout} s",
            f"give it more than {timeout} s and the time of the run itself",
        )


def not_as_published(run: Run) -> Iterator[Problem]:
    """Sizes of the published tables."""
    tables: dict[str, list[int]] = run.limit("not-as-published")
    name = "v2" if run.kernel is Kernel.V2 else run.arguments.mode
    a = run.arguments
    if [a.tokens, a.hidden_size, a.num_topk] != tables[name]:
        published = zip(("tokens", "hidden_size", "num_topk"), tables[name], strict=True)
        other = {key: value for key, value in published if getattr(a, key) != value}
        first = next(iter(other))
        yield Problem(
            ("cmd_args", first),
            "other sizes than in DeepEP's published tables: "
            + ", ".join(f"{key} = {getattr(run.arguments, key)}" for key in other),
            "for figures to compare with, use "
            + ", ".join(f"{key} = {value}" for key, value in other.items()),
        )
