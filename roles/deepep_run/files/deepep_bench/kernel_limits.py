"""What DeepEP's kernels refuse with an assertion, or worse, accept silently; told before anything starts.

The same limits as lint's, which docs/rules-kernels.md explains, by the release that is really installed.
Their numbers are written into kernel_limits.json from lint's own table.
"""

from __future__ import annotations

import json
import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, Iterator, Mapping

from .config import Config
from .errors import RefusedError
from .kernel_chunks import Chunks, largest_buffer, problem
from .kernel_sizes import (
    BARRIER,
    GROUP,
    INT_MAX,
    V1_DEFAULT_SMS,
    elastic_shared_memory,
    internode_token,
    low_latency_buffer,
)
from .world import World

Limits = Mapping[str, Any]
"""Numbers of one release, by the rule's name; a rule that the release does not have is absent."""


@lru_cache(maxsize=None)
def limits_of(version: str, elastic: bool) -> Limits:
    """Those of the newest known release that is not newer than ``version``, of the same major version.

    elastic: the package has V2, which tells the major version where ``version`` is no number.
    """
    text = Path(__file__).with_name("kernel_limits.json").read_text(encoding="utf-8")
    releases: dict[str, Limits] = json.loads(text)["releases"]
    wanted = _numbers(version)
    major = 2 if elastic else 1
    same = [release for release in releases if _numbers(release)[0] == major]
    older = [release for release in same if wanted[:1] == (major,) and _numbers(release) <= wanted]
    return releases[older[-1] if older else same[0]]


def v1_problems(
    config: Config,
    world: World,
    limits: Limits,
    gpu_sms: int | None = None,
    environ: Mapping[str, str] = os.environ,
) -> list[str]:
    """One sentence per problem of DeepEP's V1 kernels with this configuration.

    gpu_sms: SMs of this rank's GPU; None where there is none.
    """
    found = [*_groups(world, limits), *_packed_scales(config), *_numeric(limits, environ)]
    if config.mode == "low_latency":
        return [*found, *_low_latency(config, world, limits, gpu_sms, environ)]
    found += _standard(config, world, limits)
    if world.size <= GROUP:
        return [*found, *_intranode(config, world, limits, gpu_sms)]
    return [*found, *_internode(config, world, limits, environ)]


def _groups(world: World, limits: Limits) -> Iterator[str]:
    group = limits["ranks-not-in-groups"]
    if world.size > group and world.size % group:
        yield f"{world.size} ranks: V1 needs whole groups of {group}"


def _standard(config: Config, world: World, limits: Limits) -> Iterator[str]:
    group = min(limits["group-across-hosts"], world.size)
    shares = _has_v2(limits)  # since then memory is shared across hosts
    if world.num_hosts > 1 and world.local_size % group and not (config.allow_mnnvl and shares):
        yield (
            f"{world.local_size} ranks per host: V1 standard needs the {group} ranks of a group on one host; "
            "use hosts of 8 GPUs, or deepep_v2"
            + (", or set allow_mnnvl = true where NVLink joins the hosts" if shares else "")
        )
    sms = V1_DEFAULT_SMS if config.num_sms is None else config.num_sms
    if sms % limits["standard-sms-odd"]:
        yield f"num_sms = {sms} is odd: V1 uses them in pairs"
    if config.num_topk > limits["standard-topk"]:
        yield f"num_topk = {config.num_topk}: V1 standard takes at most {limits['standard-topk']}"
    for name in ("dispatch", "combine"):
        text = getattr(config, f"{name}_chunks")
        chunks = Chunks.parse(text)
        why = problem(name, chunks, world.size, limits["standard-chunks"]) if chunks else None
        if why:
            yield f"{name}_chunks = {text}: {why}"


def _intranode(config: Config, world: World, limits: Limits, gpu_sms: int | None) -> Iterator[str]:
    legal = limits["intranode-ranks"]
    if world.size not in legal:
        yield f"{world.size} ranks: V1 standard on one host runs on {_one_of(legal)} ranks"
    most = limits["intranode-experts-per-rank"]
    if config.num_experts // world.size > most:
        yield f"{config.num_experts // world.size} experts per rank: V1 standard takes at most {most}"
    row = config.hidden_size * (1 if config.fp8 else 2)
    if row % limits["intranode-hidden-alignment"]:
        yield (
            f"hidden_size = {config.hidden_size}: a row of {row} bytes is no multiple of "
            f"{limits['intranode-hidden-alignment']}"
        )
    if row // 2 + BARRIER > limits["intranode-hidden-size"]:
        yield (
            f"hidden_size = {config.hidden_size}: half a row and a barrier are {row // 2 + BARRIER} bytes, "
            f"at most {limits['intranode-hidden-size']} are possible"
        )
    yield from _sms(config.num_sms, limits["intranode-sms"], gpu_sms)


def _internode(config: Config, world: World, limits: Limits, environ: Mapping[str, str]) -> Iterator[str]:
    groups, sms = world.size // GROUP, config.num_sms or V1_DEFAULT_SMS
    legal = limits["internode-groups"]
    if world.size % GROUP == 0 and groups not in legal:
        yield f"{groups} groups of {GROUP} ranks: V1 standard has kernels for {_one_of(legal)}"
    most = limits["groups-per-token"]
    if groups > most and config.num_topk > most:
        yield f"num_topk = {config.num_topk} on {groups} groups: a token reaches at most {most} of them"
    most = limits["internode-experts-per-group"]
    if config.num_experts // groups > most:
        yield f"{config.num_experts // groups} experts per group of ranks: V1 standard takes at most {most}"
    step = limits["internode-hidden-alignment"]
    if config.hidden_size % step:
        yield f"hidden_size = {config.hidden_size}: V1 standard on several hosts needs a multiple of {step}"
    token = internode_token(config.hidden_size, config.num_topk, 1 if config.fp8 else 2) + BARRIER
    if token > limits["internode-hidden-size"]:
        yield (
            f"hidden_size = {config.hidden_size}: a token, its metadata and a barrier are {token} bytes, at "
            f"most {limits['internode-hidden-size']} are possible"
        )
    yield from _sms(config.num_sms, *limits["internode-sms"])
    qps = config.num_qps_per_rank
    if not qps_fit(qps, sms):
        yield f"num_qps_per_rank = {qps} with {sms} SMs: use {sms // 2}, or at least {sms}"
    default = limits["internode-buffer-size"].get(str(world.size))
    if default:
        asked = [each for each in map(Chunks.parse, (config.dispatch_chunks, config.combine_chunks)) if each]
        size = largest_buffer(config.hidden_size, world.size, sms, default, asked, limits["standard-chunks"])
        if size > INT_MAX:
            yield f"num_sms = {sms}: a buffer of {size} bytes, at most {INT_MAX} are possible; use fewer"
    yield from _queue_depth_range(limits, environ)


def qps_fit(qps: int | None, sms: int) -> bool:
    """Whether V1's kernels between groups find a queue pair for each channel, or for each SM."""
    return qps is None or qps == sms // 2 or qps >= sms


def _low_latency(
    config: Config, world: World, limits: Limits, gpu_sms: int | None, environ: Mapping[str, str]
) -> Iterator[str]:
    local_experts = config.num_experts // world.size
    sizes = limits["low-latency-hidden"]
    if config.hidden_size not in sizes:
        yield f"hidden_size = {config.hidden_size}: low latency has kernels for {_one_of(sizes)}"
    if config.num_topk > limits["low-latency-topk"]:
        yield f"num_topk = {config.num_topk}: low latency takes at most {limits['low-latency-topk']}"
    step = limits["low-latency-tokens-alignment"]
    if config.tokens * world.size % step:
        yield f"tokens = {config.tokens} on {world.size} ranks: their product must divide by {step}"
    depth = _number(environ.get("NVSHMEM_QP_DEPTH", "")) or limits["low-latency-queue-depth"]
    most = depth // 2 - 1
    if config.tokens > most:
        yield (
            f"tokens = {config.tokens}: queue pairs of depth {depth} hold {most}; use fewer tokens, or a "
            "larger NVSHMEM_QP_DEPTH"
        )
    yield from _queue_depth_range(limits, environ)
    most = limits["low-latency-experts"] * (gpu_sms or config.num_experts)
    if config.num_experts > most:
        yield f"num_experts = {config.num_experts}: low latency takes at most {most} on {gpu_sms} SMs"
    if config.num_qps_per_rank is not None and config.num_qps_per_rank < local_experts:
        yield (
            f"num_qps_per_rank = {config.num_qps_per_rank}: low latency needs one for each of the "
            f"{local_experts} experts of a rank; use {local_experts}, or remove it"
        )
    size = low_latency_buffer(config.tokens, config.hidden_size, config.num_experts)
    limit = limits.get("low-latency-buffer-size", size + 1)
    if size >= limit:
        yield f"a buffer of {size} bytes, fewer than {limit} are possible; use fewer tokens or experts"


def _queue_depth_range(limits: Limits, environ: Mapping[str, str]) -> Iterator[str]:
    least, most = limits["queue-depth-range"]
    depth = _number(environ.get("NVSHMEM_QP_DEPTH", ""))
    if depth is not None and not least <= depth <= most:
        yield f"NVSHMEM_QP_DEPTH = {depth}: NVSHMEM takes {least} to {most}"


def v2_problems(
    config: Config,
    world: World,
    limits: Limits,
    gpu_sms: int | None = None,
    environ: Mapping[str, str] = os.environ,
) -> list[str]:
    """As v1_problems, for the V2 kernels."""
    if config.mode == "low_latency":
        return ["mode = low_latency: V2 has no low-latency kernels; use deepep_v1"]
    return [
        *_elastic_ranks(config, world, limits),
        *_elastic_sizes(config, world, limits, gpu_sms),
        *_switched_off(world, limits, environ),
        *_numeric(limits, environ),
        *_packed_scales(config),
    ]


def _elastic_ranks(config: Config, world: World, limits: Limits) -> Iterator[str]:
    local_experts = config.num_experts // world.size
    most = limits["elastic-ranks"]
    if world.size > most:
        yield f"{world.size} ranks: V2 takes at most {most}"
    most, each = limits["elastic-experts"], limits["elastic-experts-per-rank"]
    if config.num_experts > most or local_experts > each:
        yield (
            f"num_experts = {config.num_experts} on {world.size} ranks: V2 takes at most {most}, {each} per "
            "rank"
        )
    if world.num_hosts == 1:
        return
    most = limits["elastic-notify-threads"]
    if world.local_size + local_experts > most:
        yield (
            f"{world.local_size} ranks per host and {local_experts} experts per rank: V2 on several hosts "
            f"takes at most {most} together"
        )
    if world.num_hosts > limits["elastic-hosts"]:
        yield f"{world.num_hosts} hosts: V2 takes at most {limits['elastic-hosts']}"
    most = limits["elastic-ranks-per-host"]
    if world.local_size > most:
        yield f"{world.local_size} ranks per host: V2 on several hosts takes at most {most}"


def _elastic_sizes(config: Config, world: World, limits: Limits, gpu_sms: int | None) -> Iterator[str]:
    if config.num_topk > limits["elastic-topk"]:
        yield f"num_topk = {config.num_topk}: V2 takes at most {limits['elastic-topk']}"
    step = limits["elastic-hidden-alignment"]
    if config.hidden_size % step:
        yield f"hidden_size = {config.hidden_size}: V2 needs a multiple of {step}"
    needed = elastic_shared_memory(
        config.hidden_size,
        config.num_topk,
        config.num_experts,
        1 if config.fp8 else 2,
        world.num_hosts,
        world.size,
    )
    if needed > limits["elastic-hidden-size"]:
        yield (
            f"hidden_size = {config.hidden_size} needs {needed} bytes of shared memory, an SM has "
            f"{limits['elastic-hidden-size']}"
        )
    there = [gpu_sms] if gpu_sms is not None else []
    if world.num_hosts > 1:
        there.append(limits["elastic-sms"])
    yield from _sms(config.num_sms, 1, min(there, default=None))


def _numeric(limits: Limits, environ: Mapping[str, str]) -> Iterator[str]:
    for name in limits.get("env-not-a-number", ()):
        if name in environ and _number(environ[name]) is None:
            yield f"{name} = {environ[name][:40]!r} is no whole number, as DeepEP wants it"


def _switched_off(world: World, limits: Limits, environ: Mapping[str, str]) -> Iterator[str]:
    switches = [("elastic-windows-off", "NCCL then has no symmetric memory")]
    if world.num_hosts > 1:
        switches.append(("elastic-gin-off", "V2 then cannot reach another host"))
    for rule, consequence in switches:
        for name, off in limits[rule].items():
            value = _number(environ.get(name, ""))
            if value is not None and bool(value) == bool(off):
                yield f"{name} = {value}: {consequence}"


def _sms(sms: int | None, least: int, most: int | None) -> Iterator[str]:
    if sms is not None and (sms < least or (most is not None and sms > most)):
        yield f"num_sms = {sms}: at least {least}" + ("" if most is None else f" and at most {most}")


def _packed_scales(config: Config) -> Iterator[str]:
    if config.fp8 and config.use_ue8m0 and config.hidden_size % 512:
        yield f"hidden_size = {config.hidden_size}: packed UE8M0 scales need a multiple of 512"


def refuse(problems: list[str]) -> None:
    """:raises RefusedError: all of them at once"""
    if problems:
        raise RefusedError("DeepEP's kernels cannot run this:\n" + "\n".join(problems))


def _has_v2(limits: Limits) -> bool:
    return "elastic-ranks" in limits


def _one_of(values: list[int]) -> str:
    *first, last = values
    return f"{', '.join(map(str, first))} or {last}"


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"\s*[+-]?\d{1,18}\s*", text, re.ASCII) else None


def _numbers(version: str) -> tuple[int, ...]:
    found = re.match(r"v?(\d{1,6}(?:\.\d{1,6})*)", version, re.ASCII)
    return tuple(int(part) for part in found[1].split(".")) if found else ()
