"""V1's low-latency kernels."""

from __future__ import annotations

import math
from collections.abc import Iterator

from compiler.diagnostics.model import KeyPath
from compiler.rules.kernels import sizes
from compiler.rules.kernels.environment import number
from compiler.rules.kernels.model import TIMES, Problem, Run
from compiler.rules.kernels.neighbours import multiples, nearest, one_of

TOKENS: KeyPath = ("cmd_args", "tokens")
QUEUE_DEPTH = "NVSHMEM_QP_DEPTH"


def hidden(run: Run) -> Iterator[Problem]:
    """hidden_size is compiled in."""
    legal: list[int] = run.limit("low-latency-hidden")
    size = run.arguments.hidden_size
    if size not in legal:
        yield Problem(
            ("cmd_args", "hidden_size"),
            f"hidden_size = {size}: the low-latency kernels are compiled for "
            f"{', '.join(map(str, legal))} only",
            f"use {one_of(nearest(size, legal))}",
        )


def topk(run: Run) -> Iterator[Problem]:
    """num_topk <= 11."""
    most: int = run.limit("low-latency-topk")
    if run.arguments.num_topk > most:
        yield Problem(
            ("cmd_args", "num_topk"),
            f"num_topk = {run.arguments.num_topk}: low latency handles at most {most}",
            f"use at most {most}",
        )


def tokens_alignment(run: Run) -> Iterator[Problem]:
    """(ranks x tokens) % 4 == 0."""
    step: int = run.limit("low-latency-tokens-alignment")
    tokens = run.arguments.tokens
    if run.ranks * tokens % step:
        near = multiples(tokens, step // math.gcd(step, run.ranks))
        yield Problem(
            TOKENS,
            f"{run.ranks} ranks {TIMES} {tokens} tokens = {run.ranks * tokens} is no multiple of {step}",
            f"use {one_of(near)} tokens",
        )


def queue_depth(run: Run) -> Iterator[Problem]:
    """NVSHMEM_QP_DEPTH >= 2 x (tokens + 1)."""
    text = run.facts.env.get(QUEUE_DEPTH)
    depth = run.limit("low-latency-queue-depth") if text is None else number(text)
    if depth is None:
        return
    tokens = run.arguments.tokens
    needed = 2 * (tokens + 1)
    if depth < needed:
        _, deepest = run.limit("queue-depth-range")
        larger = f", or set {QUEUE_DEPTH} to {1 << (needed - 1).bit_length()}" if needed <= deepest else ""
        said = "" if text is not None else " (NVSHMEM_QP_DEPTH is not set)"
        yield Problem(
            TOKENS,
            f"{tokens} tokens need a queue depth of {needed}, and it is {depth}{said}",
            f"use at most {max(depth // 2 - 1, 1)} tokens{larger}",
        )


def queue_depth_range(run: Run) -> Iterator[Problem]:
    """128 <= NVSHMEM_QP_DEPTH <= 32768."""
    least, most = run.limit("queue-depth-range")
    depth = number(run.facts.env.get(QUEUE_DEPTH, ""))
    if depth is not None and not least <= depth <= most:
        yield Problem(
            ("extra_env_vars", QUEUE_DEPTH),
            f"{QUEUE_DEPTH} = {depth}: NVSHMEM takes {least} to {most}",
            f"use {least if depth < least else most}",
        )


def experts(run: Run) -> Iterator[Problem]:
    """num_experts <= 14 x SMs."""
    most = run.limit("low-latency-experts") * run.facts.gpu_sms
    if run.arguments.num_experts > most:
        yield Problem(
            ("cmd_args", "num_experts"),
            f"{run.arguments.num_experts} experts: low latency handles at most {most} on "
            f"{run.facts.gpu_sms} SMs",
            f"use at most {max(most // run.ranks * run.ranks, run.ranks)}",
        )


def queue_pairs(run: Run) -> Iterator[Problem]:
    """num_qps_per_rank >= experts per rank."""
    given = run.arguments.num_qps_per_rank
    if given is not None and given < run.experts_per_rank:
        yield Problem(
            ("cmd_args", "num_qps_per_rank"),
            f"num_qps_per_rank = {given}: each of {run.shape} has {run.experts_per_rank} experts and "
            "needs a queue pair for each",
            f"use at least {run.experts_per_rank}, or remove num_qps_per_rank",
        )


def buffer_size(run: Run) -> Iterator[Problem]:
    """A buffer of less than 16 x (2^31 - 1) bytes."""
    limit: int = run.limit("low-latency-buffer-size")
    arguments = run.arguments
    size = sizes.low_latency_buffer(arguments.tokens, arguments.hidden_size, arguments.num_experts)
    if size >= limit:
        yield Problem(
            TOKENS,
            f"{arguments.tokens} tokens {TIMES} {arguments.num_experts} experts {TIMES} hidden_size "
            f"{arguments.hidden_size} need a buffer of {size} bytes, less than {limit} are possible",
            f"use at most {max(arguments.tokens * limit // size - 1, 1)} tokens, or fewer experts",
        )


def batch(run: Run) -> Iterator[Problem]:
    """tokens < 256."""
    limit: int = run.limit("low-latency-batch")
    if run.arguments.tokens >= limit:
        yield Problem(
            TOKENS,
            f"{run.arguments.tokens} tokens: DeepEP recommends fewer than {limit}",
            f"use fewer than {limit}",
        )


def nvlink_off(run: Run) -> Iterator[Problem]:
    """allow_nvlink_for_low_latency on one host."""
    if run.hosts == 1 and run.ranks > 1 and not run.arguments.allow_nvlink_for_low_latency:
        yield Problem(
            ("cmd_args", "allow_nvlink_for_low_latency"),
            "allow_nvlink_for_low_latency is false on one host: this measures the network adapters, "
            "not NVLink",
            "write allow_nvlink_for_low_latency = true, or run on several hosts",
        )
