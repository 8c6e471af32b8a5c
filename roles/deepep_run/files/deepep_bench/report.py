"""From every rank's times and checks to results.json (schemas/results.schema.json) and the per-rank files."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Callable, Iterable

from . import RECORD_SCHEMA
from .backends.base import Backend, OwnTest, OwnTests
from .config import Config
from .kernels import KernelTimes, of_slowest
from .modes.base import Measurement
from .reference import DESCRIPTION, Checked
from .routing import Routing, digest, reached_imbalance
from .timing import slowest, summarise
from .traffic import (
    Traffic,
    combine_row_bytes,
    dispatch_row_bytes,
    traffic_by_operation,
)
from .wire import LinkRows, rows_by_link
from .world import World

GIGA = 1e9


@dataclass(frozen=True)
class RankReport:
    """What one rank has to say.

    times: seconds of each iteration; before, after: the checks; kernels: of those that are known; all by
    Measurement.name. own: as DeepEP's own tests measure. evidence: of this process, and of its host from the
    host's first rank. links: seconds of the link probe's rounds (link_probe.py).
    """

    rank: int
    host: str
    local_rank: int
    times: dict[str, list[float]]
    before: dict[str, Checked]
    after: dict[str, Checked]
    own: OwnTests = field(default_factory=OwnTests)
    kernels: dict[str, KernelTimes] = field(default_factory=dict)
    evidence: dict[str, Any] = field(default_factory=dict)
    links: list[float] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return {"schema": RECORD_SCHEMA, **dataclasses.asdict(self)}

    @staticmethod
    def from_json(value: dict[str, Any]) -> RankReport:
        checks = {
            phase: {name: Checked(**checked) for name, checked in value[phase].items()}
            for phase in ("before", "after")
        }
        return RankReport(
            value["rank"],
            value["host"],
            value["local_rank"],
            value["times"],
            checks["before"],
            checks["after"],
            OwnTests(
                {name: OwnTest(**own) for name, own in value["own"]["found"].items()}, value["own"]["missing"]
            ),
            {name: KernelTimes(**times) for name, times in value["kernels"].items()},
            value["evidence"],
            value["links"],
        )


@dataclass(frozen=True)
class Circumstances:
    """What all records of a run share."""

    config: Config
    world: World
    result_dir: str
    versions: dict[str, str | None]
    notes: list[str]
    measurements: list[Measurement]
    routings: list[Routing]
    rows: list[list[int]]  # between ranks


def records(
    about: Circumstances, backend: Backend, ranks: list[RankReport], tick: Callable[[str], None]
) -> list[dict[str, Any]]:
    """One record per measurement, in the order in which they were timed; ``tick`` says what is done next."""
    tick("routing")
    shared = {"routing": _routing(about)}
    # the baselines' scales and results are not packed as DeepEP packs them
    traffic = {
        baseline: traffic_by_operation(_as_sent(about.config, baseline), about.rows)
        for baseline in (False, True)
    }
    links: dict[bool, tuple[LinkRows, LinkRows]] = {}
    found = []
    for each in about.measurements:
        if each.baseline not in links and not backend.stand_in:
            tick("links")
            links[each.baseline] = _links(about, backend, each.baseline)
        tick(f"record of {each.name}")
        moved = traffic[each.baseline][each.operation]
        found.append({**_record(about, backend, each, moved, links.get(each.baseline), ranks), **shared})
    return found


def _as_sent(config: Config, baseline: bool) -> Config:
    return dataclasses.replace(config, use_logfmt=False, backend="nccl") if baseline else config


def _routing(about: Circumstances) -> dict[str, Any]:
    """Equal digests: the same experts for the same tokens."""
    config = about.config
    found: dict[str, Any] = {"kind": config.routing, "sha256": digest(about.routings)}
    if config.routing == "group_limited":
        found.update(num_groups=config.num_groups, num_topk_groups=config.num_topk_groups)
    if config.routing == "unbalanced":
        found["imbalance"] = config.imbalance
        found["reached_imbalance"] = reached_imbalance(config, about.routings)
    if config.routing == "trace":
        found["trace"] = config.routing_trace
    loads = [sum(column) for column in zip(*about.rows)]
    found["busiest_over_mean"] = max(loads) * len(loads) / sum(loads)
    return found


def _record(
    about: Circumstances,
    backend: Backend,
    measurement: Measurement,
    traffic: Traffic,
    links: tuple[LinkRows, LinkRows] | None,
    ranks: list[RankReport],
) -> dict[str, Any]:
    config, world = about.config, about.world
    iterations = slowest([rank.times[measurement.name] for rank in ranks])
    summary = summarise(iterations)
    own = _own_tests(measurement, ranks)
    kernels = _kernels(measurement, ranks)
    wire = _wire(about.config, links, measurement, summary.median)
    return {
        "schema": RECORD_SCHEMA,
        "operation": measurement.operation,
        "variant": measurement.variant,
        "primary": measurement.primary,
        "baseline": measurement.baseline,
        "mode": config.mode,
        "backend": ("gloo" if backend.stand_in else "nccl") if measurement.baseline else backend.name,
        "program": "bundled",
        "image_digest": os.environ.get("DEEPEP_IMAGE_DIGEST"),
        "stand_in": backend.stand_in,
        "global_bw": traffic.total / GIGA / summary.median,
        "deepep_time": summary.median,
        "simple_nvl_bw": _bandwidth(own[0], "nvl_bytes") if own and not backend.stand_in else None,
        "simple_rdma_bw": _bandwidth(own[0], "rdma_bytes") if own and not backend.stand_in else None,
        "num_tokens": config.tokens,
        "hidden": config.hidden_size,
        "data_type": config.data_type,
        "num_ranks": world.size,
        "num_hosts": world.num_hosts,
        "ranks_per_host": world.local_size,
        "num_experts": config.num_experts,
        "num_topk": config.num_topk,
        "num_warmups": config.num_warmups,
        "num_iterations": config.num_iterations,
        "requested_num_warmups": config.requested_num_warmups,
        "requested_num_iterations": config.requested_num_iterations,
        "total_time": sum(iterations) * measurement.calls,
        "kernel_time": kernels.get("kernel"),
        "epilogue_time": kernels.get("epilogue"),
        "timing": measurement.timing,
        "counting": own[0].counting if own and not backend.stand_in else None,
        "own_test": _own_test_json(own, marks(ranks, ["own_test"])) if own else None,
        "wire_nvl_bw": wire[0],
        "wire_rdma_bw": wire[1],
        "gpu": _model(ranks),
        "bytes": {"per_rank": traffic.sent, "global": traffic.total},
        "time_s": {**dataclasses.asdict(summary), "iterations": iterations},
        "per_rank": [_rank_line(rank, measurement, traffic) for rank in ranks],
        "correctness": _correctness(measurement.name, ranks),
        "seed": config.seed,
        "shuffle_columns": config.shuffle_columns,
        "round_scale": config.round_scale,
        "use_ue8m0": config.use_ue8m0,
        "use_logfmt": config.use_logfmt,
        "num_sms": config.num_sms,
        "num_qps_per_rank": config.num_qps_per_rank,
        "effective": {} if measurement.baseline else backend.effective(),
        "marks": marks(ranks, _parts_of(measurement, bool(kernels))),
        "versions": about.versions,
        "timestamp": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "result_dir": about.result_dir,
        "notes": [*about.notes, *_notes_of(measurement), *_missing(measurement, ranks)],
    }


def _own_tests(measurement: Measurement, ranks: list[RankReport]) -> list[OwnTest]:
    """Every rank's, in rank order; empty where DeepEP's tests have no such call, or a rank has no figure."""
    found = [rank.own.found.get(measurement.name) for rank in ranks]
    return [each for each in found if each is not None] if None not in found else []


def _kernels(measurement: Measurement, ranks: list[RankReport]) -> dict[str, float]:
    """As kernels.of_slowest; empty where nobody profiled."""
    found = [rank.kernels[measurement.name] for rank in ranks if measurement.name in rank.kernels]
    return of_slowest(found) if found else {}


def _missing(measurement: Measurement, ranks: list[RankReport]) -> list[str]:
    """A sentence per kind of figure that a rank could not give: it is null, or without a part, for all."""
    name = measurement.name
    kinds = {
        "own_test, or a part of it": [rank.own.missing.get(name, []) for rank in ranks],
        "kernel times": [rank.kernels[name].missing if name in rank.kernels else [] for rank in ranks],
    }
    notes = []
    for kind, of_ranks in kinds.items():
        told = [(rank, sentences) for rank, sentences in enumerate(of_ranks) if sentences]
        if told:
            rank, sentences = told[0]
            more = f" and {len(told) - 1} more" if len(told) > 1 else ""
            notes.append(f"not known: {kind}: {'; '.join(sentences)} (on rank {rank}{more})")
    return notes


def _bandwidth(own: OwnTest, link: str) -> float | None:
    size = getattr(own, link)
    return size / own.seconds / GIGA if size else None


def _own_test_json(own: list[OwnTest], found_marks: list[str]) -> dict[str, Any]:
    """Rank 0's figures, as the test prints them first, and the range over all ranks."""
    found = {**dataclasses.asdict(own[0]), "marks": found_marks}
    for name, link in (("nvl_bw", "nvl_bytes"), ("rdma_bw", "rdma_bytes")):
        values = [value for value in (_bandwidth(each, link) for each in own) if value is not None]
        found[name] = {"rank_0": values[0], "min": min(values), "max": max(values)} if values else None
    return found


def _links(about: Circumstances, backend: Backend, baseline: bool) -> tuple[LinkRows, LinkRows]:
    config = about.config
    nvlink = config.mode == "standard" or config.allow_nvlink_for_low_latency or baseline
    return rows_by_link(
        config,
        about.routings,
        about.rows,
        backend.nvlink_domain(baseline),
        backend.hierarchical and not baseline,
        nvlink or config.backend == "nccl",
    )


def _wire(
    config: Config, links: tuple[LinkRows, LinkRows] | None, measurement: Measurement, seconds: float
) -> tuple[float | None, float | None]:
    """GB/s of the busiest rank over NVLink and over RDMA; None where nothing crosses it or nobody knows."""
    if links is None:
        return None, None
    config = _as_sent(config, measurement.baseline)
    there = dispatch_row_bytes(config) if measurement.operation != "combine" else 0
    back = combine_row_bytes(config) if measurement.operation != "dispatch" else 0
    nvl, rdma = (link.busiest(there, back) / GIGA / seconds for link in links)
    return nvl or None, rdma or None


def _model(ranks: list[RankReport]) -> str | None:
    for rank in ranks:
        for gpu in rank.evidence.get("conditions", {}).get("gpus", []):
            model: str = gpu["model"]
            return model
    return None


def marks(ranks: list[RankReport], parts: Iterable[str]) -> list[str]:
    """What was wrong while those parts were measured (gpu.py), or with the run as a whole."""
    found = []
    for rank in ranks:
        conditions = rank.evidence.get("conditions", {})
        found += conditions.get("marks", [])
        found += [mark for part in parts for mark in conditions.get("marks_by_part", {}).get(part, [])]
    profilers = {rank.evidence.get("profiler") for rank in ranks} - {None}
    return [*found, *(f"measured under {name}, which slows the program" for name in sorted(profilers))]


def _parts_of(measurement: Measurement, profiled: bool) -> list[str]:
    """Without DeepEP's own test, whose figure has marks of its own: in low latency it multiplies matrices
    before its calls, which alone brings a GPU to its power limit."""
    if measurement.baseline:
        return ["baselines"]
    return ["during", "kernels"] if profiled else ["during"]


def _notes_of(measurement: Measurement) -> list[str]:
    found = []
    if measurement.baseline:
        what = {
            "alltoall": "the all-to-all of the same bytes alone, packed beforehand",
            "gather_scatter": "the all-to-all with the gather, scatter and sum that a model needs around it",
            "counts": "layout, exchange of the counts, gather, all-to-all and scatter, with a CPU sync",
        }
        found.append(f"baseline, not DeepEP: {what[str(measurement.variant)]}")
    if measurement.variant == "eager":
        found.append("launched call by call: mostly the time that the CPU needs to launch")
    if measurement.timing == "graph":
        found.append(
            f"mean of {measurement.calls} operations in one CUDA graph, caches flushed before the graph: all "
            "but its first find them warm; minimum, maximum and percentiles are of such means"
        )
    return found


def evidence(about: Circumstances, backend: Backend, ranks: list[RankReport]) -> dict[str, Any]:
    """evidence.json: what the figures depend on, in full."""
    config = dataclasses.asdict(about.config)
    return {
        "schema": RECORD_SCHEMA,
        "versions": about.versions,
        "requested": config,
        "effective": backend.effective(),
        "ranks": [{"rank": rank.rank, "host": rank.host, **rank.evidence} for rank in ranks],
    }


def _rank_line(rank: RankReport, measurement: Measurement, traffic: Traffic) -> dict[str, Any]:
    summary = summarise(rank.times[measurement.name])
    return {
        "rank": rank.rank,
        "host": rank.host,
        "local_rank": rank.local_rank,
        "mean_s": summary.mean,
        "median_s": summary.median,
        "min_s": summary.min,
        "max_s": summary.max,
        "bytes_sent": traffic.sent[rank.rank],
        "bytes_received": traffic.received[rank.rank],
    }


def _correctness(name: str, ranks: list[RankReport]) -> dict[str, Any]:
    checks = [phase[name] for rank in ranks for phase in (rank.before, rank.after)]
    return {
        # a wrong element ends the run before any record is written, so these are true wherever they stand
        "before": all(name in rank.before for rank in ranks),
        "after": all(name in rank.after for rank in ranks),
        "reference": DESCRIPTION,
        "max_abs_error": max(checked.max_abs_error for checked in checks),
        "max_rel_error": max(checked.max_rel_error for checked in checks),
        "tolerance": max(checked.tolerance for checked in checks),
        "max_bias": max(checked.bias for checked in checks),
        "elements_checked": sum(checked.elements for checked in checks),
    }


def notes(config: Config, backend: Backend, fault: str, found_marks: list[str]) -> list[str]:
    """Sentences for every record of the run."""
    found = [*backend.notes(), *found_marks]
    for key in ("num_warmups", "num_iterations"):
        requested, used = getattr(config, f"requested_{key}"), getattr(config, key)
        if requested is not None and requested != used:
            found.append(f"{key}: {requested} were asked for, {used} were run (capped by the inventory)")
    if not config.fp8:
        for key in ("round_scale", "use_ue8m0"):
            if getattr(config, key):
                found.append(f"{key} has no effect with data_type bfloat16")
    if fault:
        found.append(f"NOT A MEASUREMENT: this run was told to fail (DEEPEP_BENCH_FAULT={fault})")
    return found


def summary_lines(results: list[dict[str, Any]]) -> list[str]:
    """What rank 0 prints at the end."""
    lines = []
    for record in results:
        stand_in = " (CPU stand-in, not DeepEP's figure)" if record["stand_in"] else ""
        variant = f" ({record['variant']})" if record["variant"] else ""
        simple = record["simple_nvl_bw"] or record["simple_rdma_bw"]
        own = f", {simple:.2f} GB/s as DeepEP's own test counts" if simple else ""
        lines.append(
            f"{record['mode']} {record['operation']}{variant} {record['data_type']} on {record['backend']}, "
            f"{record['num_ranks']} ranks: deepep_time {record['deepep_time'] * 1e3:.4f} ms "
            f"({record['timing']}), global_bw {record['global_bw']:.3f} GB/s{own}{stand_in}"
        )
    return lines
