"""From every rank's times and checks to results.json (schemas/results.schema.json) and the per-rank files."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from . import RECORD_SCHEMA
from .backends.base import Backend
from .config import Config
from .reference import DESCRIPTION, Checked
from .timing import slowest, summarise
from .traffic import Traffic
from .world import World

GIGA = 1e9


@dataclass(frozen=True)
class RankReport:
    """What one rank has to say. times: seconds of each iteration by operation."""

    rank: int
    host: str
    local_rank: int
    times: dict[str, list[float]]
    before: dict[str, Checked]
    after: dict[str, Checked]

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
        )


@dataclass(frozen=True)
class Circumstances:
    """What all records of a run share."""

    config: Config
    world: World
    result_dir: str
    versions: dict[str, str | None]
    notes: list[str]


def records(
    about: Circumstances, backend: Backend, traffic: dict[str, Traffic], ranks: list[RankReport]
) -> list[dict[str, Any]]:
    """One record per operation, in the order in which they were timed."""
    return [_record(about, backend, operation, traffic[operation], ranks) for operation in ranks[0].times]


def _record(
    about: Circumstances, backend: Backend, operation: str, traffic: Traffic, ranks: list[RankReport]
) -> dict[str, Any]:
    config, world = about.config, about.world
    iterations = slowest([rank.times[operation] for rank in ranks])
    summary = summarise(iterations)
    nvl, rdma = backend.simple_bandwidth(operation)
    return {
        "schema": RECORD_SCHEMA,
        "operation": operation,
        "variant": backend.variant(operation),
        "mode": config.mode,
        "backend": config.backend,
        "program": "bundled",
        "stand_in": backend.stand_in,
        "global_bw": traffic.total / GIGA / summary.median,
        "deepep_time": summary.median,
        "simple_nvl_bw": nvl,
        "simple_rdma_bw": rdma,
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
        "total_time": sum(iterations),
        "kernel_time": None,
        "timing": backend.timing,
        "counting": backend.counting(operation),
        "wire_nvl_bw": None,
        "wire_rdma_bw": None,
        "bytes": {"per_rank": traffic.sent, "global": traffic.total},
        "time_s": {**dataclasses.asdict(summary), "iterations": iterations},
        "per_rank": [_rank_line(rank, operation, traffic) for rank in ranks],
        "correctness": _correctness(operation, ranks),
        "seed": config.seed,
        "shuffle_columns": config.shuffle_columns,
        "round_scale": config.round_scale,
        "use_ue8m0": config.use_ue8m0,
        "num_sms": config.num_sms,
        "num_qps_per_rank": config.num_qps_per_rank,
        "versions": about.versions,
        "timestamp": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "result_dir": about.result_dir,
        "notes": about.notes,
    }


def _rank_line(rank: RankReport, operation: str, traffic: Traffic) -> dict[str, Any]:
    summary = summarise(rank.times[operation])
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


def _correctness(operation: str, ranks: list[RankReport]) -> dict[str, Any]:
    checks = [phase[operation] for rank in ranks for phase in (rank.before, rank.after)]
    return {
        # a wrong element ends the run before any record is written, so these are true wherever they stand
        "before": all(operation in rank.before for rank in ranks),
        "after": all(operation in rank.after for rank in ranks),
        "reference": DESCRIPTION,
        "max_abs_error": max(checked.max_abs_error for checked in checks),
        "max_rel_error": max(checked.max_rel_error for checked in checks),
        "tolerance": max(checked.tolerance for checked in checks),
        "elements_checked": sum(checked.elements for checked in checks),
    }


def notes(config: Config, backend: Backend, fault: str) -> list[str]:
    """Sentences for every record of the run."""
    found = list(backend.notes())
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
        lines.append(
            f"{record['mode']} {record['operation']} {record['data_type']} on {record['backend']}, "
            f"{record['num_ranks']} ranks: deepep_time {record['deepep_time'] * 1e3:.3f} ms, "
            f"global_bw {record['global_bw']:.3f} GB/s{stand_in}"
        )
    return lines
