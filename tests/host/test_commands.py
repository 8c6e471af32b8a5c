"""``collect`` and ``cleanup`` as the documentation writes them: from anywhere, and saying what they did."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from compiler.resources import host_code
from tests.host.bundles import Bundle, stand_in_run
from tests.host.test_cleanup import OLD, YOUNG, grow_old

host_code()

from deepep_host import credentials  # noqa: E402
from deepep_host.registry import Login  # noqa: E402
from deepep_host.state import ended, host_dir, new_state, run_dir, write_state  # noqa: E402

COMPILER = str(Path(sys.executable).with_name("deepep-compiler"))


def call(*argv: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Runs ``deepep-compiler`` in a folder that has nothing to do with the bundle."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    return subprocess.run(
        [COMPILER, *argv], cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=600
    )


def test_collect_fetches_what_the_size_limit_left_out(tmp_path: Path) -> None:
    bundle = Bundle(tmp_path, [stand_in_run("big", ["random=results/noise"])])
    bundle.play("site.yml", "-e", "deepep_collect_limit_mb=1")
    run = bundle.session() / "big/0"
    assert not (run / "results/noise").exists()
    done = call("collect", str(bundle.session()), "--limit-mb", "0", cwd=tmp_path)
    assert (run / "results/noise").stat().st_size == 3_000_000, done.stdout + done.stderr
    assert "big/0" in done.stdout
    # A run of a stand-in never has a PASS.
    assert done.returncode == 3
    assert not bundle.work_dir.exists()


def test_collect_leaves_a_session_alone_that_is_under_way(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(
        json.dumps({"run_id": "r", "scenario": "s", "status": "running", "bundle_dir": str(tmp_path)})
    )
    done = call("collect", str(tmp_path), cwd=tmp_path)
    assert done.returncode == 1
    assert "session r may be under way: stop ends it" in done.stderr


def left_over(work: Path, session: str) -> Path:
    """Makes what a session left on ``n1`` that nobody collected."""
    base = host_dir(work, session, "n1")
    folder = run_dir(base, "a/0")
    folder.mkdir(parents=True)
    (base / "plan.json").write_text("{}")
    (folder / "launch.json").write_text("{}")
    write_state(folder, ended(new_state(session, "a/0", "n1"), "exited", None, 0))
    return base


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    """An inventory of this machine as ``n1``."""
    path = tmp_path / "hosts.yml"
    n1 = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "deepep_work_dir": str(tmp_path / "work"),
        "deepep_container_runtime": "none",
    }
    path.write_text(json.dumps({"all": {"hosts": {"n1": n1}}}))
    return path


def plant() -> Path:
    """Leaves credentials in memory as a process does that is killed while it uses them."""
    code = (
        "import sys, os, signal; sys.path.insert(0, sys.argv[1])\n"
        "from deepep_host import credentials\n"
        "from deepep_host.registry import Login\n"
        "with credentials.private_directory('killed') as folder:\n"
        "    credentials.docker_config(folder, {'r': Login('u', 'planted')})\n"
        "    print(folder, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    top = str(Path(credentials.__file__).resolve().parents[1])
    killed = subprocess.run([sys.executable, "-c", code, top], capture_output=True, text=True, check=False)
    return Path(killed.stdout.strip())


def test_cleanup_finds_what_killed_sessions_left_and_names_it(tmp_path: Path, inventory: Path) -> None:
    work = tmp_path / "work"
    old, young = left_over(work, OLD), left_over(work, YOUNG)
    grow_old(old, 20)
    with credentials.private_directory("alive") as used:
        credentials.docker_config(used, {"r": Login("u", "in use")})
        done = call("cleanup", "-i", str(inventory), cwd=tmp_path)
        assert (used / "config.json").exists()
    assert done.returncode == 0, done.stdout + done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("n1: ")]
    assert line.startswith(f"n1: removed {old}; ")
    assert line.endswith(f"kept, not collected: {YOUNG}/a/0")
    assert (old.exists(), young.exists()) == (False, True)
    done = call("cleanup", "-i", str(inventory), "--uncollected", cwd=tmp_path)
    assert f"n1: removed {young}" in done.stdout
    assert not work.exists()


def test_cleanup_removes_credentials_of_killed_runs(tmp_path: Path, inventory: Path) -> None:
    # Any cleanup of this user removes them, also one of another test run on this machine: then once more.
    for _ in range(5):
        planted = plant()
        done = call("cleanup", "-i", str(inventory), cwd=tmp_path)
        assert not planted.exists(), done.stdout + done.stderr
        assert "planted" not in done.stdout + done.stderr
        if str(planted) in done.stdout:
            break
    assert f"removed credentials of killed runs: {planted}" in done.stdout


def test_cleanup_says_which_host_it_could_not_reach(tmp_path: Path, inventory: Path) -> None:
    hosts = json.loads(inventory.read_text())
    hosts["all"]["hosts"]["n2"] = {"ansible_host": "127.0.0.1", "ansible_port": 1}
    inventory.write_text(json.dumps(hosts))
    done = call("cleanup", "-i", str(inventory), cwd=tmp_path)
    assert done.returncode == 3, done.stdout + done.stderr
    assert "n1: removed nothing" in done.stdout
    assert "n2" in done.stdout and "Connection refused" in done.stdout
