"""Reads evidence.json: under what conditions a run was measured, and what really carried the tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from compiler.report.model import Carried, GpuState, RunEvidence, Setting
from compiler.report.values import mapping, number, objects, read_json, text

PARTS = {"during": "timed", "baselines": "baselines", "own_test": "own tests", "kernels": "kernels"}
"""What was measured, by its key of a GPU's conditions."""

_NOTICED = 0.01
"""Share of a part for which a GPU must have been throttled to be named, as in the program's marks."""

MOST_GPUS = 64
"""GPUs that are listed one by one; of more the ranges over all say enough, and the file has them."""


def read_evidence(path: Path, few: bool) -> RunEvidence | None:
    """Returns what the page shows of a run's evidence.json, None where there is none.

    Without ``few`` runs single GPUs, libraries and environment are left to the file.
    """
    value = read_json(path)
    if not isinstance(value, dict):
        return None
    ranks = objects(value.get("ranks"))
    conditions = [found for rank in ranks if (found := mapping(rank.get("conditions")))]
    gpus = [_gpu(host, gpu) for host in conditions for gpu in objects(host.get("gpus"))]
    return RunEvidence(
        conditions=[*_conditions(gpus), *_foreign(conditions)],
        gpus=gpus if few and len(gpus) <= MOST_GPUS else [],
        carried=[_carried(rank) for rank in ranks if isinstance(rank.get("carried"), dict)],
        effective=_effective(mapping(value.get("effective")), mapping(value.get("requested"))),
        libraries=_alike(((rank.get("rank"), mapping(rank.get("libraries"))) for rank in ranks), "rank")
        if few
        else [],
        environment=_alike(
            ((rank.get("host"), mapping(rank["environment"])) for rank in ranks if rank.get("environment")),
            "",
        )
        if few
        else [],
    )


def _gpu(conditions: Mapping[str, Any], gpu: Mapping[str, Any]) -> GpuState:
    timed = mapping(gpu.get("during"))
    samples = timed.get("samples")
    return GpuState(
        host=text(conditions.get("host")),
        index=text(gpu.get("index")),
        model=text(gpu.get("model")),
        serial=text(gpu.get("serial")),
        driver=text(gpu.get("driver")),
        samples=samples if isinstance(samples, int) else 0,
        clock_mhz=_range(timed.get("sm_clock_mhz")),
        max_clock_mhz=number(gpu.get("max_sm_clock_mhz")),
        temperature_c=_range(timed.get("temperature_c")),
        power_w=_range(timed.get("power_w")),
        power_limit_w=number(gpu.get("power_limit_w")),
        throttled=", ".join(_throttled(gpu)),
    )


def _throttled(gpu: Mapping[str, Any]) -> Iterable[str]:
    for part, name in PARTS.items():
        seen = mapping(gpu.get(part))
        counted = {key: number(value) or 0.0 for key, value in mapping(seen.get("throttled_s")).items()}
        whole = counted.pop("part", 0.0)
        told = seen.get("throttled", gpu.get("throttled") if part == "during" else None)
        reasons = dict.fromkeys(text(one) for one in told) if isinstance(told, list) else {}
        reasons |= dict.fromkeys(reason for reason, spent in counted.items() if spent > _NOTICED * whole)
        yield from (f"{reason} ({name})" for reason in reasons)


def _conditions(gpus: Sequence[GpuState]) -> list[Setting]:
    """Returns the ranges over all GPUs while operations were timed."""
    if not gpus:
        return []
    models = Counter(gpu.model for gpu in gpus)
    throttled = sum(1 for gpu in gpus if gpu.throttled)
    reasons = dict.fromkeys(gpu.throttled for gpu in gpus if gpu.throttled)
    few = min(gpu.samples for gpu in gpus)
    facts = {
        "GPUs": ", ".join(f"{count} \N{MULTIPLICATION SIGN} {model}" for model, count in models.items()),
        "driver": ", ".join(dict.fromkeys(gpu.driver for gpu in gpus)),
        "SM clock": _of([gpu.clock_mhz for gpu in gpus], [gpu.max_clock_mhz for gpu in gpus], "MHz"),
        "temperature": _of([gpu.temperature_c for gpu in gpus], [], "°C"),
        "power": _of([gpu.power_w for gpu in gpus], [gpu.power_limit_w for gpu in gpus], "W"),
        "throttled": f"{throttled} of {len(gpus)}: {'; '.join(reasons)}" if throttled else "none",
        "samples of each GPU": str(few) if few == max(gpu.samples for gpu in gpus) else f"at least {few}",
    }
    return [Setting(name, value) for name, value in facts.items()]


def _foreign(conditions: Sequence[Mapping[str, Any]]) -> list[Setting]:
    found = [
        f"{text(one.get('process'))} on {text(host.get('host'))}"
        for host in conditions
        for one in objects(host.get("foreign_processes"))
    ]
    return [Setting("other processes", ", ".join(found))] if found else []


def _of(ranges: Sequence[tuple[float, float] | None], limits: Sequence[float | None], unit: str) -> str:
    known = [one for one in ranges if one]
    if not known:
        return "not known"
    found = spanned((min(low for low, _ in known), max(high for _, high in known)), unit)
    most = {limit for limit in limits if limit is not None}
    return f"{found}, limit {spanned((min(most), max(most)), unit)}" if most else found


def spanned(ends: tuple[float, float] | None, unit: str) -> str:
    """Returns a range in words."""
    if ends is None:
        return "\N{EN DASH}"
    low, high = (f"{end:.0f}" for end in ends)
    return f"{low} {unit}" if low == high else f"{low} to {high} {unit}"


def _range(value: object) -> tuple[float, float] | None:
    ends = [number(end) for end in value] if isinstance(value, list) else []
    known = [end for end in ends if end is not None]
    return (known[0], known[1]) if len(known) == len(ends) == 2 else None


def _carried(rank: Mapping[str, Any]) -> Carried:
    nvlink, rdma = (mapping(rank["carried"].get(link)) for link in ("nvlink", "rdma"))
    ports = objects(rank.get("rdma_ports"))
    active = sum(1 for port in ports if port.get("state") == "ACTIVE")
    return Carried(
        host=text(rank.get("host")),
        nvlink_sent=number(nvlink.get("sent_bytes")),
        nvlink_received=number(nvlink.get("received_bytes")),
        rdma_sent=number(rdma.get("sent_bytes")),
        rdma_received=number(rdma.get("received_bytes")),
        rdma_ports=f"{active} of {len(ports)}" if ports else "none",
    )


def _effective(effective: Mapping[str, Any], requested: Mapping[str, Any]) -> list[Setting]:
    """Returns what was really used, with what was asked for where that is known and another thing."""
    return [
        Setting(
            key,
            text(value),
            (text(requested[key]) or "automatic") if key in requested and requested[key] != value else None,
        )
        for key, value in effective.items()
    ]


def _alike(tables: Iterable[tuple[object, Mapping[str, Any]]], what: str) -> list[Setting]:
    """Returns each name with its value; where they differ, every value with who has it."""
    found: dict[str, dict[str, list[str]]] = {}
    for who, table in tables:
        for name, value in table.items():
            found.setdefault(name, {}).setdefault(text(value), []).append(f"{what} {text(who)}".strip())
    return [
        Setting(name, next(iter(values)))
        if len(values) == 1
        else Setting(name, "; ".join(f"{value} ({_who(who)})" for value, who in values.items()))
        for name, values in found.items()
    ]


def _who(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{names[0]} and {len(names) - 1} more"
