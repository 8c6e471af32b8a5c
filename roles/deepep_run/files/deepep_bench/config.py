"""Reads config.yaml: flat ``key: <JSON scalar>`` lines, a subset of YAML (hosts have no YAML parser)."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import RefusedError
from .kernel_chunks import PATTERN as CHUNKS

MODES = ("standard", "low_latency")
DATA_TYPES = ("bfloat16", "fp8")
ROUTINGS = ("uniform", "group_limited", "unbalanced", "trace")
CHANNELS_PER_SCALE = 128


@dataclass(frozen=True)
class Config:
    """One benchmark: sizes, routing, method and timeouts. Times in seconds."""

    tokens: int
    num_experts: int
    num_topk: int
    hidden_size: int
    data_type: str
    mode: str
    backend: str
    num_warmups: int
    num_iterations: int
    allow_nvlink_for_low_latency: bool = False
    allow_mnnvl: bool = False
    round_scale: bool = False
    use_ue8m0: bool = False
    shuffle_columns: bool = False
    use_kineto_profiler: bool = False
    num_sms: int | None = None  # None: automatic
    num_qps_per_rank: int | None = None  # None: automatic
    seed: int = 0
    routing: str = "uniform"
    num_groups: int = 8  # group_limited: equal groups of consecutive experts
    num_topk_groups: int = 4
    imbalance: float = 1.0  # unbalanced: tokens of the first rank over the mean of the others
    routing_trace: str | None = None
    use_logfmt: bool = False
    enable_tuning: bool = False
    dispatch_chunks: str | None = None  # "NVL" or "NVL/RDMA"; None: DeepEP's default
    combine_chunks: str | None = None
    probe_links: bool = True
    process_group_timeout_s: float = 120.0
    heartbeat_interval_s: float = 0.5
    heartbeat_timeout_s: float = 10.0
    stall_timeout_s: float | None = None  # None: process_group_timeout_s
    requested_num_warmups: int | None = None  # what the TOML asked for, where the inventory caps it
    requested_num_iterations: int | None = None

    @property
    def fp8(self) -> bool:
        return self.data_type == "fp8"

    @property
    def deepep(self) -> bool:
        """Whether DeepEP moves the tokens, or its stand-in."""
        return self.backend.startswith("deepep")

    @property
    def stall_s(self) -> float:
        return self.process_group_timeout_s if self.stall_timeout_s is None else self.stall_timeout_s


@dataclass(frozen=True)
class _Key:
    kind: type
    minimum: float | None = None
    choices: tuple[str, ...] = ()
    required: bool = False
    nullable: bool = False
    pattern: re.Pattern[str] | None = None


KEYS: dict[str, _Key] = {
    "tokens": _Key(int, minimum=1, required=True),
    "num_experts": _Key(int, minimum=1, required=True),
    "num_topk": _Key(int, minimum=1, required=True),
    "hidden_size": _Key(int, minimum=1, required=True),
    "data_type": _Key(str, choices=DATA_TYPES, required=True),
    "allow_nvlink_for_low_latency": _Key(bool),
    "allow_mnnvl": _Key(bool),
    "round_scale": _Key(bool),
    "use_ue8m0": _Key(bool),
    "shuffle_columns": _Key(bool),
    "use_kineto_profiler": _Key(bool),
    "num_warmups": _Key(int, minimum=0, required=True),
    "num_iterations": _Key(int, minimum=1, required=True),
    "mode": _Key(str, choices=MODES, required=True),
    "backend": _Key(str, required=True),
    "num_sms": _Key(int, minimum=1, nullable=True),
    "num_qps_per_rank": _Key(int, minimum=1, nullable=True),
    "seed": _Key(int, minimum=0),
    "routing": _Key(str, choices=ROUTINGS),
    "num_groups": _Key(int, minimum=1),
    "num_topk_groups": _Key(int, minimum=1),
    "imbalance": _Key(float, minimum=1),
    "routing_trace": _Key(str, nullable=True),
    "use_logfmt": _Key(bool),
    "enable_tuning": _Key(bool),
    "dispatch_chunks": _Key(str, pattern=CHUNKS, nullable=True),
    "combine_chunks": _Key(str, pattern=CHUNKS, nullable=True),
    "probe_links": _Key(bool),
    "process_group_timeout_s": _Key(float, minimum=1),
    "heartbeat_interval_s": _Key(float, minimum=0.05),
    "heartbeat_timeout_s": _Key(float, minimum=0.5),
    "stall_timeout_s": _Key(float, minimum=1, nullable=True),
    "requested_num_warmups": _Key(int, minimum=0, nullable=True),
    "requested_num_iterations": _Key(int, minimum=1, nullable=True),
}


def load_config(path: Path, overrides: dict[str, str] | None = None) -> Config:
    """Read and check the file; ``overrides`` are values from the command line.

    :raises RefusedError: names every finding with file, line, key and what is allowed
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RefusedError(f"cannot read the configuration {path}: {error}") from None
    values: dict[str, Any] = {}
    problems: list[str] = []
    for number, line in enumerate(text.split("\n"), start=1):
        stripped = line.strip()
        if stripped and not stripped.startswith("#") and stripped != "---":
            _take(f"{path}:{number}", line.rstrip("\r"), values, problems)
    for key, raw in (overrides or {}).items():
        values.pop(key, None)
        _take(f"--{key.replace('_', '-')}", f"{key}: {raw}", values, problems)
    problems += [
        f"{path}: {key} is missing" for key, rule in KEYS.items() if rule.required and key not in values
    ]
    if not problems:
        config = Config(**values)
        problems = [f"{path}: {problem}" for problem in _contradictions(config)]
    if problems:
        raise RefusedError("\n".join(problems))
    return config


def _take(place: str, line: str, values: dict[str, Any], problems: list[str]) -> None:
    key, colon, raw = line.partition(":")
    if not colon or key != key.strip() or (raw and not raw.startswith(" ")):
        problems.append(f"{place}: expected 'key: value', found {line[:80]!r}")
        return
    if key not in KEYS:
        problems.append(f"{place}: unknown key {key!r}; known keys: {', '.join(KEYS)}")
        return
    if key in values:
        problems.append(f"{place}: {key} is given twice")
        return
    try:
        value = json.loads(raw)
    except ValueError:
        problems.append(
            f"{place}: {key} = {raw.strip()[:80]} is not a JSON scalar (text needs double quotes)"
        )
        return
    problem = _value_problem(KEYS[key], value)
    if problem:
        problems.append(f"{place}: {key} = {raw.strip()[:80]}: {problem}")
        return
    values[key] = float(value) if KEYS[key].kind is float and value is not None else value


def _value_problem(rule: _Key, value: Any) -> str | None:
    if value is None and rule.nullable:
        return None
    allowed: Any = (int, float) if rule.kind is float else (rule.kind,)
    if not isinstance(value, allowed) or isinstance(value, bool) is not (rule.kind is bool):
        names = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
        return f"must be {names[rule.kind]}"
    if rule.choices and value not in rule.choices:
        return f"must be one of {', '.join(rule.choices)}"
    if rule.pattern and not rule.pattern.fullmatch(value):
        return f"must look like {rule.pattern.pattern}"
    if rule.kind is float and not math.isfinite(value):
        return "must be finite"
    if rule.minimum is not None and value < rule.minimum:
        return f"must be at least {rule.minimum:g}"
    return None


def _contradictions(config: Config) -> list[str]:
    problems = []
    if config.num_topk > config.num_experts:
        problems.append(
            f"num_topk = {config.num_topk}: a token cannot select more experts than "
            f"num_experts = {config.num_experts}"
        )
    if config.fp8 and config.hidden_size % CHANNELS_PER_SCALE:
        problems.append(
            f"hidden_size = {config.hidden_size}: fp8 has one scale per {CHANNELS_PER_SCALE} channels; "
            f"use a multiple of {CHANNELS_PER_SCALE}"
        )
    problems += _routing_contradictions(config)
    if config.enable_tuning and (config.dispatch_chunks or config.combine_chunks):
        problems.append(
            "enable_tuning = true: finds the chunks itself; remove dispatch_chunks, combine_chunks"
        )
    if config.use_ue8m0 and not config.round_scale:
        problems.append("use_ue8m0 = true: needs round_scale = true, since UE8M0 holds powers of two only")
    return problems


def _routing_contradictions(config: Config) -> list[str]:
    problems = []
    if config.routing == "trace" and not config.routing_trace:
        problems.append('routing = "trace": needs routing_trace, the file of a recorded routing')
    if config.routing == "group_limited":
        if config.num_experts % config.num_groups:
            problems.append(
                f"num_groups = {config.num_groups}: num_experts = {config.num_experts} cannot be split evenly"
            )
        elif config.num_topk_groups > config.num_groups:
            problems.append(
                f"num_topk_groups = {config.num_topk_groups}: there are num_groups = {config.num_groups}"
            )
        elif config.num_topk > config.num_topk_groups * (config.num_experts // config.num_groups):
            problems.append(
                f"num_topk = {config.num_topk}: {config.num_topk_groups} groups of "
                f"{config.num_experts // config.num_groups} experts are too few"
            )
    return problems


def check_for_world(config: Config, world_size: int) -> None:
    """Checks that need the number of ranks.

    :raises RefusedError: the experts do not divide evenly, or the imbalance cannot be reached
    """
    if config.num_experts % world_size:
        below = config.num_experts // world_size * world_size
        near = [str(n) for n in (below, below + world_size) if n >= max(config.num_topk, 1)]
        raise RefusedError(
            f"num_experts = {config.num_experts} cannot be split evenly over {world_size} ranks; "
            f"use {' or '.join(near)}"
        )
    most = _most_imbalance(config, world_size)
    if config.routing == "unbalanced" and config.imbalance > most:
        raise RefusedError(
            f"imbalance = {config.imbalance:g}: with {config.num_experts // world_size} experts on each of "
            f"{world_size} ranks and num_topk = {config.num_topk} the first rank gets at most {most:.4g} "
            "times the tokens of the others' mean; lower imbalance or num_topk, or use more experts"
        )


def _most_imbalance(config: Config, world_size: int) -> float:
    """Tokens of the first rank over the mean of the others if every token selects all of the first rank's
    experts that it can: what it then selects elsewhere is spread over the others. compiler/rules/routing.py
    says the same before a run."""
    local_experts = config.num_experts // world_size
    elsewhere = config.num_topk - local_experts
    if world_size == 1:
        return 1.0
    if elsewhere <= 0:
        return math.inf
    others = config.num_experts - local_experts
    missed = math.comb(others - local_experts, elsewhere) / math.comb(others, elsewhere)
    return 1 / (1 - missed)
