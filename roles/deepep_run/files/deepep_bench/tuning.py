"""Which chunk sizes and how many SMs are fastest here: what is tried, how it is timed, what is kept.

As DeepEP's own tests search (their ranges, their way of timing), but over SM counts too where the test leaves
them open, and decided by the slowest rank instead of rank 0. What won is used for the rest of the run, stands
in every record's ``effective`` and, with every candidate, in tuning.json.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Iterable, Sequence

import torch
import torch.distributed as dist

from .device import Device
from .errors import RefusedError
from .own_test import mean

SM_COUNTS = (16, 24, 32, 48, 64)
_WARMUPS, _CALLS = 5, 20
_CPU_WARMUPS, _CPU_CALLS = 0, 2  # a stand-in's times mean nothing


@dataclass(frozen=True)
class Candidate:
    """One setting that was timed. seconds: mean of a call on the slowest rank; chunks None: the default."""

    operation: str
    num_sms: int
    chunks: str | None
    seconds: float


@dataclass(frozen=True)
class Tuned:
    """The winner and everything that was tried."""

    num_sms: int
    dispatch_chunks: str | None
    combine_chunks: str | None
    candidates: tuple[Candidate, ...]

    def to_json(self) -> dict[str, Any]:
        """tuning.json; ``reuse`` are the cmd_args that give the same settings without a search."""
        chosen = {
            "num_sms": self.num_sms,
            "dispatch_chunks": self.dispatch_chunks,
            "combine_chunks": self.combine_chunks,
        }
        return {
            "schema": 1,
            "method": f"mean of {_CALLS} calls back to back after {_WARMUPS}, CUDA events, slowest rank",
            "reuse": {key: value for key, value in chosen.items() if value is not None},
            "candidates": [dict(vars(each)) for each in self.candidates],
        }


def best(candidates: Iterable[Candidate]) -> Tuned:
    """The number of SMs with the smallest sum of the fastest dispatch and the fastest combine: both use the
    same, since the handle of a dispatch fixes it for its combine.

    :raises RefusedError: there is none with both
    """
    tried = tuple(candidates)

    def fastest(operation: str, sms: int) -> Candidate:
        fitting = (each for each in tried if (each.operation, each.num_sms) == (operation, sms))
        return min(fitting, key=lambda each: each.seconds)

    dispatched, combined = (
        {each.num_sms for each in tried if each.operation == name} for name in ("dispatch", "combine")
    )
    counts = sorted(dispatched & combined)
    if not counts:
        raise RefusedError("enable_tuning = true: DeepEP runs with none of the settings that are tried")
    sms = min(counts, key=lambda n: fastest("dispatch", n).seconds + fastest("combine", n).seconds)
    return Tuned(sms, fastest("dispatch", sms).chunks, fastest("combine", sms).chunks, tried)


def sm_counts(asked: int | None, automatic: int, device: torch.device) -> list[int]:
    """What is searched: only what the test asks for, or the usual counts and the automatic one."""
    if asked is not None:
        return [asked]
    there = torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 10**6
    return sorted({automatic, *(n for n in SM_COUNTS if n <= there)})


def runs(call: Callable[[], object], signs: Sequence[str], device: Device) -> bool:
    """Whether a setting works, on all ranks; False where it failed with a text that has one of ``signs``.

    Only for what fails on all ranks alike, before anything is sent. Other errors are raised.
    """
    failed = 0
    try:
        call()
    except RuntimeError as error:
        if not any(sign in str(error).lower() for sign in signs):
            raise
        failed = 1
    flag = torch.tensor(failed, device=device.torch_device)
    dist.all_reduce(flag, op=dist.ReduceOp.MAX)
    return not int(flag)


def slowest_mean(device: Device, calls: Sequence[Callable[[], object]]) -> list[float]:
    """Seconds of each call on the slowest rank; the same list on every rank."""
    times = []
    cuda = device.torch_device.type == "cuda"
    warmups, count = (_WARMUPS, _CALLS) if cuda else (_CPU_WARMUPS, _CPU_CALLS)
    for call in calls:
        device.barrier()
        times.append(mean(device.back_to_back(call, warmups, count)))
    values = torch.tensor(times, dtype=torch.float64, device=device.torch_device)
    dist.all_reduce(values, op=dist.ReduceOp.MAX)
    found: list[float] = values.tolist()
    return found
