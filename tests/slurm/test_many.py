"""Many jobs are followed with few questions; counted by slurmctld itself."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cluster.slurm import SlurmLab
from tests.conftest import REPO

pytestmark = pytest.mark.cluster

JOBS = 200
POLL_S = 0.5
LOOKS = 6

WATCH = """
import json, sys
sys.path.insert(0, {code!r})
from pathlib import Path
from deepep_host.slurm import jobs
place = jobs.Place(Path({root!r}), "20260101_000000-abcdef", "front")
ids = {{f"a/{{number}}": job for number, job in enumerate(json.loads(sys.stdin.read()))}}
seen = {{}}
for _ in range({looks}):
    for run, found in jobs.watch(place, ids, seen, {poll_s}, {poll_s}, 0.0, True).items():
        seen[run] = found["print"]
print(len(seen))
"""


def asked(slurm: SlurmLab) -> dict[str, int]:
    """Returns how often slurmctld was asked what since it was told to begin counting."""
    counts = re.findall(r"^\s+(REQUEST_\w+)\s+\(\s*\d+\) count:(\d+)", slurm.login.run("sdiag").stdout, re.M)
    return {name: int(count) for name, count in counts}


def test_200_jobs_are_watched_with_one_query_per_interval(slurm: SlurmLab, tmp_path: Path) -> None:
    submitted = slurm.login.run(
        "sh", "-c",
        f"for i in $(seq {JOBS}); do sbatch --parsable --hold --output=/dev/null --wrap true || exit 1; done",
        timeout=600,
    )  # fmt: skip
    ids = submitted.stdout.split()
    assert len(ids) == JOBS
    code = str(REPO / "roles" / "deepep_common" / "module_utils")
    script = WATCH.format(code=code, root=str(slurm.shared), looks=LOOKS, poll_s=POLL_S)
    slurm.login.run("sdiag", "--reset")
    done = slurm.login.run("/usr/bin/python3", "-c", script, input=json.dumps(ids), timeout=600)
    assert json.loads(done.stdout) == JOBS
    looks = asked(slurm)
    assert sum(count for name, count in looks.items() if "JOB_INFO" in name) == LOOKS, looks
