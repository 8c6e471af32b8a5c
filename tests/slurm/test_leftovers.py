"""What killed jobs leave on hosts' own disks, where none is shared: fetched, removed, or found later."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from compiler.resources import host_code
from tests.cluster.machine import Host
from tests.cluster.slurm import SlurmLab
from tests.slurm.session import Run, write_scenario
from tests.slurm.test_faults import LONG, on

host_code()

from deepep_host.slurm import leftovers, query  # noqa: E402

WORK_DIR = "/var/tmp/deepep-root"  # noqa: S108 - a directory of a test host


def left(host: Host) -> list[str]:
    """Returns the sessions that have a directory on a host's own disk."""
    return [name for name in host.run("ls", WORK_DIR).stdout.split() if name != "locks"]


@pytest.mark.long
@pytest.mark.cluster
def test_a_killed_jobs_files_are_fetched_and_a_lost_hosts_are_found_by_the_next_job(
    slurm: SlurmLab, tmp_path: Path
) -> None:
    killed, lost = slurm.hosts[0], slurm.hosts[1]
    scenario = write_scenario(tmp_path, {
        "killed": (f"echo begun; {LONG}", on("gaia-1")),
        "lost": (f"echo begun; {LONG}", on("gaia-2")),
    })  # fmt: skip
    run = Run(slurm, tmp_path, scenario, deepep_slurm_shared_dir=None, deepep_slurm_parallel=True)
    try:
        job = run.until_running("killed/0")
        run.until_running("lost/0")
        for host in (killed, lost):
            slurm.until(lambda host=host: bool(host.processes("sleep 600")), "the program", 300)  # type: ignore[misc]
        lost.power_off()
        slurm.login.run("scancel", job)
        out = run.finish()
    finally:
        run.process.kill()
    assert run.process.returncode == 3, out
    # Slurm gave the first host again at once, for the moment that fetching takes.
    assert run.job("killed/0")["state"] == "CANCELLED"
    assert "begun" in (run.session / "killed/0/stdout.txt").read_text(), out
    assert run.said("killed/0").startswith("FAIL")
    assert left(killed) == []
    assert run.job("lost/0")["state"] == "NODE_FAIL"
    run.tell("a job is cancelled, hosts share no directory", "killed/0")

    lost.boot()
    assert len(left(lost)) == 1
    lost.run("find", WORK_DIR, "-exec", "touch", "-h", "-d", "2 hours ago", "{}", "+")
    slurm.repair(keep_disks=True)
    (tmp_path / "next").mkdir()
    scenario = write_scenario(tmp_path / "next", {"next": ("true", on("gaia-2"))})
    Run(slurm, tmp_path / "next", scenario, deepep_slurm_shared_dir=None).finish()
    assert left(lost) == []
    assert slurm.jobs() == []


def test_only_a_quiet_session_without_a_job_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, live, dead, fresh, other = (tmp_path / name for name in ("own", "live", "dead", "fresh", "ssh"))
    for base, job in ((own, "1"), (live, "2"), (dead, "3"), (fresh, "4")):
        monkeypatch.setenv("SLURM_JOB_ID", job)
        leftovers.note_job(base)
    other.mkdir()
    for base in (own, live, dead, other):
        for path in [*base.rglob("*"), base]:
            os.utime(path, (time.time() - 7200,) * 2)
    running = {"2": query.Seen("2", "RUNNING", "", "n1", ""), "3": query.Seen("3", "CANCELLED", "", "n1", "")}
    monkeypatch.setattr(query, "queue", lambda jobs, patience_s: running)
    assert leftovers.sweep_host(tmp_path, own) == [dead]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fresh", "live", "own", "ssh"]


def test_what_goes_while_a_session_is_looked_at_fails_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = [tmp_path / "s/gaia-1/runs/b/0" / name for name in ("aged", "forgotten")]
    scandir = os.scandir
    going: list[Path] = []

    def removed_before(folder: Any) -> Any:
        if not isinstance(folder, int) and Path(folder) in going:
            going.remove(Path(folder))
            Path(folder).rmdir()
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", removed_before)
    for path, look in zip(
        gone, (leftovers._age_s, lambda base: leftovers.forget(base, ["a/0"])), strict=True
    ):
        path.mkdir(parents=True)
        going.append(path)
        look(tmp_path / "s")
        assert not path.exists()


def test_what_is_not_fetched_yet_stays_with_its_program(tmp_path: Path) -> None:
    for run in ("a/0", "b/0"):
        (tmp_path / "s/gaia-1/runs" / run).mkdir(parents=True)
        (tmp_path / "s/gaia-1/runs" / run / "state.json").touch()
    (tmp_path / "s/program").mkdir()
    leftovers.forget(tmp_path / "s", ["a/0"])
    assert (tmp_path / "s/program").is_dir()
    assert (tmp_path / "s/gaia-1/runs/b/0/state.json").is_file()
    leftovers.forget(tmp_path / "s", ["b/0"])
    assert not (tmp_path / "s").exists()
