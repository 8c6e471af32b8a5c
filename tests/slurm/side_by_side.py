"""The seed page's scenario over SSH and through Slurm: ``python -m tests.slurm.side_by_side``.

Runs the same command on the same 2 and 4 hosts of the test bed, with the real benchmark on gloo, and writes
docs/reports/: each session's own Markdown, and one page that puts them side by side.
"""

from __future__ import annotations

import csv
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from compiler import __version__
from tests.cluster.lab import REPOSITORY
from tests.cluster.slurm import SlurmLab
from tests.e2e.conftest import COMPILER

EXAMPLE = REPOSITORY / "examples" / "deepep-benchmark"
REPORTS = REPOSITORY / "docs" / "reports"
TORCH = REPOSITORY / ".venv-torch" / "bin" / "python"
LAUNCHERS = ("ssh", "slurm")
HOSTS = (2, 4)
VARIABLES: Mapping[str, Any] = {
    "deepep_container_runtime": "none",
    "deepep_backend": "gloo",
    "deepep_gpus_per_node": 1,
    "deepep_python": str(TORCH),
    "deepep_iterations_cap": 3,
    "deepep_warmups_cap": 1,
    # All hosts are one busy machine.
    "deepep_rendezvous_timeout_s": 600,
    "deepep_process_group_timeout_s": 600,
}

HEAD = """# SSH and Slurm, side by side

<!-- Written by `python -m tests.slurm.side_by_side` -->

The seed page's scenario (`examples/deepep-benchmark`, its `num_nodes` alone changed) with the same command,
`deepep-compiler run scenario.toml -i hosts.yml`, once over SSH and once as Slurm jobs, on the same hosts of
the [test bed](../../tests/cluster/README.md). The reports: {links}.

All hosts are one machine ({processors} processors, load {load} beforehand), one rank per host, at most 3
iterations after 1 of warm-up. **gloo is a stand-in: these are not DeepEP's figures.** They show that the
same is measured and judged. The machine was busy with other work, so that nothing about the launchers'
speed can be read from them. deepep-compiler {compiler}, Slurm 22.05.8, ansible-core {ansible}, Python
{python}, {system}, {today}.

| hosts | run | operation | SSH | | Slurm | |
|---:|---|---|---|---:|---|---:|
"""


def main() -> int:
    """Returns 1 where a run of any of the sessions did not pass."""
    load = os.getloadavg()[0]
    passed = True
    rows: dict[tuple[int, str], list[dict[str, str]]] = {}
    with tempfile.TemporaryDirectory() as name, SlurmLab(max(HOSTS)) as slurm:
        for number in HOSTS:
            for launcher in LAUNCHERS:
                folder = Path(name) / f"{launcher}-{number}"
                session = _run(slurm, folder, number, launcher)
                shutil.copyfile(session / "summary.md", REPORTS / _report(launcher, number))
                with (session / "summary.csv").open(newline="") as file:
                    rows[number, launcher] = list(csv.DictReader(file))
                passed = passed and all(row["verdict"] == "PASS" for row in rows[number, launcher])
    links = ",\n".join(
        f"[{launcher} on {number}]({_report(launcher, number)})" for number in HOSTS for launcher in LAUNCHERS
    )
    head = HEAD.format(
        links=links,
        processors=len(os.sched_getaffinity(0)),
        load=f"{load:.0f}",
        compiler=__version__,
        ansible=version("ansible-core"),
        python=platform.python_version(),
        system=f"{platform.system()} {platform.release()}",
        today=date.today(),
    )
    (REPORTS / "ssh-and-slurm.md").write_text(head + "".join(_table(rows)), encoding="utf-8")
    return 0 if passed else 1


def _report(launcher: str, number: int) -> str:
    return f"{launcher}-{number}-hosts.md"


def _run(slurm: SlurmLab, folder: Path, number: int, launcher: str) -> Path:
    """Runs the scenario and returns the session's directory."""
    shutil.copytree(EXAMPLE, folder)
    scenario = folder / "scenario.toml"
    text, changed = re.subn(r"num_nodes = \d+", f"num_nodes = {number}", scenario.read_text())
    assert changed
    scenario.write_text(text)
    inventory = folder / "hosts.yml"
    if launcher == "slurm":
        slurm.inventory(inventory, **VARIABLES)
    else:
        slurm.lab.inventory(inventory, hosts=slurm.hosts, variables=VARIABLES)
    results = folder / "results"
    done = slurm.lab.controller.run(
        COMPILER, "run", scenario, "-i", inventory, "--results-dir", results, cwd=folder, timeout=3600
    )
    print(done.stdout + done.stderr, flush=True)
    (session,) = results.iterdir()
    return session


def _table(rows: Mapping[tuple[int, str], list[dict[str, str]]]) -> Iterator[str]:
    """Yields a line for each operation: what the one launcher and the other say of it."""
    for number in HOSTS:
        for ssh, slurm in zip(*(rows[number, launcher] for launcher in LAUNCHERS), strict=True):
            assert [ssh[name] for name in ("run", "operation")] == [
                slurm[name] for name in ("run", "operation")
            ]
            cells = [f"{one['verdict']} | {_time(one['deepep_time_s'])}" for one in (ssh, slurm)]
            yield f"| {number} | {ssh['run']} | {ssh['operation']} | {' | '.join(cells)} |\n"


def _time(text: str) -> str:
    return f"{float(text) * 1000:.1f} ms" if text else ""


if __name__ == "__main__":
    sys.exit(main())
