"""What this version can plan but not yet run, in one table."""

from __future__ import annotations

from collections.abc import Callable

from compiler.diagnostics.codes import finding
from compiler.diagnostics.model import Diagnostic
from compiler.plan.model import Plan, Run

RUNS_TODAY: tuple[tuple[str, Callable[[Plan, Run], str], tuple[str, ...]], ...] = (
    ("deepep_launcher", lambda plan, run: plan.launcher, ("ssh", "slurm")),
    ("deepep_program", lambda plan, run: run.program, ("bundled", "image")),
    ("deepep_backend", lambda plan, run: run.backend, ("gloo", "nccl", "deepep", "deepep_v1", "deepep_v2")),
)
"""Each setting, how a plan tells its value, and the values that can be executed."""


def not_executable(plan: Plan) -> list[Diagnostic]:
    """Returns an error for each setting of the plan that nothing carries out yet."""
    found: dict[tuple[str, str], list[str]] = {}
    allowed: dict[str, tuple[str, ...]] = {}
    for name, value_of, values in RUNS_TODAY:
        allowed[name] = values
        for run in plan.runs:
            value = value_of(plan, run)
            if value not in values:
                found.setdefault((name, value), []).append(run.id)
    if plan.selftest and plan.launcher != "ssh":
        return [
            finding(
                "selftest-impossible", f"--selftest is for the ssh launcher, this is {plan.launcher}", None
            )
        ]
    return [
        finding(
            "not-implemented-yet",
            f"{name} = {value!r} is planned, but this version cannot run it yet ({_runs(runs)})",
            None,
            fix=f"set {name} to {' or '.join(allowed[name])} in the inventory"
            + (" (or cmd_args.backend in the test)" if name == "deepep_backend" else ""),
        )
        for (name, value), runs in found.items()
    ]


def _runs(runs: list[str]) -> str:
    return f"{runs[0]} and {len(runs) - 1} more runs" if len(runs) > 1 else runs[0]
