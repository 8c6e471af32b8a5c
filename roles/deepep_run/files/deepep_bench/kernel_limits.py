"""What DeepEP's kernels refuse with an assertion, or worse, accept silently; told before anything starts."""

from __future__ import annotations

import os

from .config import Config
from .errors import RefusedError
from .world import World

V1_DEFAULT_SMS = 24
_GROUP = 8  # ranks that V1 connects by NVLink
_INTRANODE_RANKS = (2, 4, 8)
_LOW_LATENCY_HIDDEN = (2048, 2560, 3072, 4096, 5120, 6144, 7168, 8192)
_QP_DEPTH = 1024


def v1_problems(config: Config, world: World) -> list[str]:
    """One sentence per problem of DeepEP's V1 kernels with this configuration."""
    local_experts = config.num_experts // world.size
    if config.mode == "low_latency":
        return _low_latency(config, world, local_experts)
    problems = []
    if world.size <= _GROUP and world.size not in _INTRANODE_RANKS:
        problems.append(f"{world.size} ranks: V1 standard on one host runs on 2, 4 or 8 ranks")
    if world.size > _GROUP and world.local_size != _GROUP:
        problems.append(
            f"{world.local_size} ranks per host: V1 standard on several hosts needs 8 on each (use deepep_v2)"
        )
    sms = V1_DEFAULT_SMS if config.num_sms is None else config.num_sms
    if sms % 2:
        problems.append(f"num_sms = {sms} is odd: V1 uses them in pairs")
    if config.num_topk > 32:
        problems.append(f"num_topk = {config.num_topk}: V1 standard takes at most 32")
    if local_experts > 128:
        problems.append(f"{local_experts} experts per rank: V1 standard takes at most 128")
    if config.hidden_size % 16 or (config.fp8 and config.hidden_size % 128):
        problems.append(f"hidden_size = {config.hidden_size}: use a multiple of {128 if config.fp8 else 16}")
    return problems + _packed_scales(config)


def _low_latency(config: Config, world: World, local_experts: int) -> list[str]:
    problems = []
    if config.hidden_size not in _LOW_LATENCY_HIDDEN:
        known = ", ".join(map(str, _LOW_LATENCY_HIDDEN))
        problems.append(f"hidden_size = {config.hidden_size}: low latency has kernels for {known}")
    if config.fp8 and config.hidden_size % 512:
        problems.append(f"hidden_size = {config.hidden_size}: low latency with fp8 needs a multiple of 512")
    if config.num_topk > 11:
        problems.append(f"num_topk = {config.num_topk}: low latency takes at most 11")
    if config.tokens * world.size % 4:
        problems.append(f"tokens = {config.tokens} on {world.size} ranks: their product must divide by 4")
    depth = os.environ.get("NVSHMEM_QP_DEPTH", "")
    most = (int(depth) if depth.isdigit() else _QP_DEPTH) // 2 - 1
    if config.tokens > most:
        problems.append(
            f"tokens = {config.tokens}: queue pairs of depth {2 * (most + 1)} hold {most}; use fewer tokens, "
            "or a larger NVSHMEM_QP_DEPTH"
        )
    if config.num_qps_per_rank is not None and config.num_qps_per_rank < local_experts:
        problems.append(
            f"num_qps_per_rank = {config.num_qps_per_rank}: low latency needs one for each of the "
            f"{local_experts} experts of a rank; use {local_experts}, or remove it"
        )
    return problems


def v2_problems(config: Config, world: World) -> list[str]:
    """As v1_problems, for the V2 kernels."""
    if config.mode == "low_latency":
        return ["mode = low_latency: V2 has no low-latency kernels; use deepep_v1"]
    problems = []
    local_experts = config.num_experts // world.size
    if config.hidden_size % 256:
        problems.append(f"hidden_size = {config.hidden_size}: V2 needs a multiple of 256")
    if config.num_topk > 32:
        problems.append(f"num_topk = {config.num_topk}: V2 takes at most 32")
    if config.num_experts > 2048 or local_experts > 256:
        problems.append(
            f"num_experts = {config.num_experts} on {world.size} ranks: V2 takes at most 2048, 256 per rank"
        )
    return problems + _packed_scales(config)


def _packed_scales(config: Config) -> list[str]:
    if config.fp8 and config.use_ue8m0 and config.hidden_size % 512:
        return [f"hidden_size = {config.hidden_size}: packed UE8M0 scales need a multiple of 512"]
    return []


def refuse(problems: list[str]) -> None:
    """:raises RefusedError: all of them at once"""
    if problems:
        raise RefusedError("DeepEP's kernels cannot run this:\n" + "\n".join(problems))
