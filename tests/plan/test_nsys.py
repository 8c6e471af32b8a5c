"""The words that nsys puts before a program."""

from __future__ import annotations

import pytest

from compiler.plan import nsys
from compiler.plan.model import Join, Variable


@pytest.mark.parametrize("table", [None, {"enable": False, "trace": "cuda"}])
def test_no_profile_no_words(table: object) -> None:
    assert nsys.of_ranks(table) == nsys.of_host(table) == ()


def test_options_in_nsys_own_words() -> None:
    table = {
        "nsys_binary": "/opt/nsys",
        "trace": "cuda,nvtx",
        "capture_range": "none",
        "gpu_metrics_devices": "all",
        "output": "/anywhere/my run",
        "force_overwrite": False,
        "extra_args": ["--stats=true", "; rm"],
    }
    assert nsys.of_ranks(table) == (
        "/opt/nsys",
        "profile",
        Join(("--output=", Variable.RUN_DIR, "/traces/my-run-%q{RANK}")),
        "--force-overwrite=false",
        "--trace=cuda,nvtx",
        "--capture-range=none",
        "--gpu-metrics-devices=all",
        "--stats=true",
        "; rm",
    )


def test_a_table_alone_is_enough() -> None:
    host = Join(("--output=", Variable.RUN_DIR, "/traces/nsys-%h"))
    assert nsys.of_host({}) == ("nsys", "profile", host, "--force-overwrite=true")


def test_the_end_of_the_range_does_not_end_the_program() -> None:
    words = nsys.of_ranks({"capture_range": "cudaProfilerApi"})
    assert words[-2:] == ("--capture-range=cudaProfilerApi", "--capture-range-end=stop")
    own = nsys.of_ranks({"capture_range": "cudaProfilerApi", "capture_range_end": "repeat:2"})
    assert own[-1] == "--capture-range-end=repeat:2"
