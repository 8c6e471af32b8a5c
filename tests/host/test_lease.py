"""The lease of a host: one session at a time, whoever's it is; dead ones block nobody for long."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from compiler.resources import host_code
from tests.host.bundles import HOSTS, Bundle, stand_in_run
from tests.host.conftest import OneHost, wait_until
from tests.host.test_playbook import left_of, reason_texts
from tests.host.test_resume import call, good_run, lose_controller, python_of, running, verdicts

host_code()

from deepep_host import lease, processes  # noqa: E402
from deepep_host.lock import HostInUse  # noqa: E402
from deepep_host.state import supervisor_of  # noqa: E402
from deepep_host.verbs import perform  # noqa: E402

FIRST, SECOND, THIRD = "20260101_000000-aaaaaa", "20260101_000001-bbbbbb", "20260101_000002-cccccc"


class Sessions:
    """Sessions that want one machine, each staged in a directory of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.leases = folder / "leases"

    def base(self, run_id: str) -> Path:
        """Returns where a session is staged."""
        base = self.folder / f"work-of-{run_id}" / run_id / "node1"
        base.mkdir(parents=True, exist_ok=True)
        return base

    def take(self, run_id: str, mine: tuple[str, ...] = (), patience_s: float = 0.0) -> None:
        """Takes the machine for a session."""
        who = {"started_by": f"someone on ctl-{run_id[-6:]}", "results": f"/results/{run_id}"}
        lease.take(self.leases, self.base(run_id), run_id, "node1", mine, who, patience_s)

    def file(self, run_id: str) -> Path:
        """Returns the lease of a session."""
        return self.leases / f"{run_id}.node1.json"

    def grow_old(self, run_id: str, seconds: float = lease.STALE_S + 60) -> None:
        """Makes a lease look as if nobody had been heard of for so long."""
        then = time.time() - seconds
        os.utime(self.file(run_id), (then, then))


@pytest.fixture
def sessions(tmp_path: Path) -> Sessions:
    """No session has anything yet."""
    return Sessions(tmp_path)


def test_another_session_is_refused_with_who_holds_the_host_and_where(sessions: Sessions) -> None:
    sessions.take(FIRST)
    with pytest.raises(HostInUse) as refused:
        sessions.take(SECOND)
    assert f"in use by session {FIRST} of someone on ctl-aaaaaa since 2" in str(refused.value)
    assert f"results in /results/{FIRST}" in str(refused.value)
    sessions.take(FIRST)
    lease.release(sessions.base(FIRST))
    sessions.take(SECOND)
    lease.release(sessions.base(SECOND))
    assert not sessions.leases.exists()


def test_everybody_may_add_a_lease_and_nobody_may_remove_anothers(sessions: Sessions) -> None:
    sessions.take(FIRST)
    assert sessions.leases.stat().st_mode & 0o7777 == 0o1777
    assert sessions.file(FIRST).stat().st_mode & 0o777 == 0o644


def test_a_session_that_goes_on_under_a_new_id_keeps_its_hosts(sessions: Sessions) -> None:
    sessions.take(FIRST)
    sessions.take(THIRD, mine=(FIRST, THIRD))
    with pytest.raises(HostInUse, match=THIRD):
        sessions.take(SECOND)
    assert not sessions.file(FIRST).exists()


def test_a_dead_session_holds_a_host_for_minutes_and_says_so(sessions: Sessions) -> None:
    sessions.take(FIRST)
    sessions.grow_old(FIRST, lease.STALE_S - 30)
    with pytest.raises(HostInUse, match=r"last heard of 2\d\d s ago; after 300 s the host is free"):
        sessions.take(SECOND)
    sessions.grow_old(FIRST)
    sessions.take(SECOND)
    with pytest.raises(HostInUse, match=SECOND):
        lease.retake(sessions.base(FIRST))


def test_a_sign_of_life_is_enough(sessions: Sessions) -> None:
    sessions.take(FIRST)
    sessions.grow_old(FIRST)
    given = {"run_id": FIRST, "host": "node1", "work_dir": str(sessions.base(FIRST).parents[1]), "run": "a/0"}
    assert perform("state", given)["state"] is None
    with pytest.raises(HostInUse, match=FIRST):
        sessions.take(SECOND)


def test_a_long_look_holds_the_host_and_is_a_sign_of_life(sessions: Sessions) -> None:
    sessions.take(FIRST)
    with lease.held(sessions.base(FIRST)):
        sessions.grow_old(FIRST)
        with pytest.raises(HostInUse, match=FIRST):
            sessions.take(SECOND)
    with pytest.raises(HostInUse, match=FIRST):
        sessions.take(SECOND)


def test_a_lease_of_before_a_reboot_holds_nothing(sessions: Sessions) -> None:
    sessions.take(FIRST)
    told = json.loads(sessions.file(FIRST).read_text())
    sessions.file(FIRST).write_text(json.dumps({**told, "boot_id": "of before"}))
    sessions.take(SECOND)


def test_a_lease_that_cannot_be_read_counts_as_one(sessions: Sessions) -> None:
    sessions.take(FIRST)
    sessions.file(FIRST).write_text("half a fi")
    with pytest.raises(HostInUse, match=f"session {FIRST} of unknown"):
        sessions.take(SECOND)
    sessions.grow_old(FIRST)
    sessions.take(SECOND)


def test_what_is_no_directory_is_refused(sessions: Sessions) -> None:
    (sessions.folder / "elsewhere").mkdir()
    sessions.leases.symlink_to(sessions.folder / "elsewhere")
    with pytest.raises(OSError, match="leases"):
        sessions.take(FIRST)


def test_a_running_program_holds_the_host_without_its_controller(host: OneHost, sessions: Sessions) -> None:
    host.stage(run={"words": ["sleep=600"]})
    who = {"started_by": "someone", "results": "/results"}
    lease.take(sessions.leases, host.base, host.run_id, host.name, (), who)
    host.start("run")
    host.wait("run", "running")
    held = sessions.leases / f"{host.run_id}.{host.name}.json"
    os.utime(held, (1, 1))
    with pytest.raises(HostInUse, match=host.run_id):
        sessions.take(THIRD)
    state = host.state("run")
    for pid in (state["guardian"]["pid"], state["pid"]):
        os.kill(pid, 9)
    supervisor = supervisor_of(state)
    wait_until(lambda: supervisor is not None and not processes.is_alive(supervisor))
    sessions.take(THIRD)


def test_of_two_that_begin_at_once_the_earlier_one_waits_for_the_later_one_to_give_up(
    sessions: Sessions,
) -> None:
    sessions.take(SECOND)
    script = (
        "import sys, time; from pathlib import Path; sys.path.insert(0, sys.argv[1])\n"
        "from deepep_host import lease\n"
        "print('begin', flush=True); sys.stdin.readline(); lease.release(Path(sys.argv[2]))"
    )
    code = Path(lease.__file__).parents[1]
    later = subprocess.Popen(
        [sys.executable, "-c", script, code, sessions.base(SECOND)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with later:
        assert later.stdout is not None
        later.stdout.readline()
        with pytest.raises(HostInUse):
            sessions.take(THIRD, patience_s=60)
        later.communicate("go\n")
        sessions.take(FIRST, patience_s=60)


# ---- with ansible-playbook ----


def bundle_in(folder: Path, leases: Path, *entries: str, words: tuple[str, ...] = ()) -> Bundle:
    """Returns a bundle with a work directory of its own, on a machine that it shares with others."""
    folder.mkdir()
    runs = [good_run(folder, entry, words, time_limit_s=600) for entry in entries]
    return Bundle(folder, runs, python_of(folder), lease_dir=leases)


def test_of_two_scenarios_that_start_at_once_one_runs_and_the_other_does_not(tmp_path: Path) -> None:
    # Whoever has the hosts keeps them until the other has given up.
    words = (f"await={tmp_path / 'go'}",)
    pair = [bundle_in(tmp_path / name, tmp_path / "leases", "one", "two", words=words) for name in ("a", "b")]
    plays: list[Any] = [
        subprocess.Popen(
            bundle.command("site.yml"), cwd=bundle.folder, env=bundle.environment(),
            stdout=(bundle.folder / "played.txt").open("w"), stderr=subprocess.STDOUT,
        )
        for bundle in pair
    ]  # fmt: skip
    wait_until(lambda: any(play.poll() is not None for play in plays), 600)
    (tmp_path / "go").touch()
    for play in plays:
        play.wait(timeout=600)
    output = [(bundle.folder / "played.txt").read_text() for bundle in pair]
    found = sorted(zip((list(verdicts(bundle).values()) for bundle in pair), (0, 1), strict=True))
    assert [values for values, _ in found] == [["NOT_RUN"] * 2, ["PASS"] * 2], output
    loser, winner = (pair[index] for _, index in found)
    reason = reason_texts(loser, "one/0")
    assert f"in use by session {winner.json('run.json')['run_id']} of " in reason
    assert f" on {winner.json('run.json')['controller']} since " in reason
    assert f"results in {winner.session()}" in reason
    assert not (tmp_path / "leases").exists()
    assert [left_of(bundle) for bundle in pair] == [[], []]


def test_a_lost_sessions_hosts_are_its_own_until_it_is_stopped_or_gone_on_with(tmp_path: Path) -> None:
    go = tmp_path / "go"
    lost = bundle_in(tmp_path / "a", tmp_path / "leases", "one", words=(f"await={go}",))
    other = bundle_in(tmp_path / "b", tmp_path / "leases", "one")
    lose_controller(lost, "one/0")
    assert running(lost, "one/0")
    assert other.play().returncode == 2
    assert verdicts(other) == {"one/0": "NOT_RUN"}
    go.touch()
    resumed = call("run", "--resume", str(lost.session()))
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    again = call("run", "--resume", str(other.session()))
    assert again.returncode == 0, again.stdout + again.stderr


def test_the_playbooks_that_end_a_session_give_its_hosts_back_and_cleanup_waits(tmp_path: Path) -> None:
    bundle = Bundle(tmp_path, [stand_in_run("run", ["phase=timing", f"await={tmp_path / 'go'}"])])
    lose_controller(bundle, "run/0")
    (tmp_path / "go").touch()
    wait_until(lambda: not running(bundle, "run/0"))
    left = {path: path.read_bytes() for path in bundle.lease_dir.iterdir()}
    assert len(left) == len(HOSTS)
    for playbook, code in (("cleanup.yml", 0), ("stop.yml", 0), ("collect.yml", 2)):
        bundle.lease_dir.mkdir(exist_ok=True)
        for path, content in left.items():
            path.write_bytes(content)
        done = bundle.play(playbook)
        assert done.returncode == code, done.stdout + done.stderr
        # It is no session's own: one that was heard of a moment ago may be between two runs.
        assert bundle.lease_dir.exists() == (playbook == "cleanup.yml"), playbook
