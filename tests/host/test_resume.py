"""Sessions that are gone on with: real ansible-playbook, the real command line, a stand-in program."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from compiler.resources import host_code
from tests.host.bundles import HOSTS, STAND_IN, Bundle, one_after_another, stand_in_run
from tests.host.conftest import wait_until
from tests.judge.tree import make_run, write_run

host_code()

from deepep_host import processes  # noqa: E402
from deepep_host.own_bundle import own_bundle  # noqa: E402

pytestmark = pytest.mark.long("together")

COMPILER = str(Path(sys.executable).with_name("deepep-compiler"))


def good_run(folder: Path, entry: str, words: Sequence[str] = (), **changes: Any) -> dict[str, Any]:
    """Returns a run that leaves what a PASS needs (made up), after these words."""
    run = {
        **stand_in_run(entry, []),
        **make_run(f"{entry}/0", hosts=HOSTS, ranks_per_host=1, backend="gloo"),
        "argv": [{"join": [{"var": "python"}]}, str(STAND_IN), *words, f"copy={folder / entry}"],
        "time_limit_s": 60,
        **changes,
    }
    made = write_run(folder / "made" / entry, run)
    for rank, host in enumerate(HOSTS):
        files = [f"markers/{host}.json", f"ranks/rank-{rank:04d}.json"]
        files += [str(path.relative_to(made)) for path in made.glob("results/*/*")] if rank == 0 else []
        for name in files:
            target = folder / entry / host / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(made / name, target)
    return run


def python_of(folder: Path) -> str:
    """Returns an interpreter that has a stand-in for torch, which the preflight asks for."""
    script = folder / "python"
    modules = Path(__file__).with_name("fixtures") / "stand_in_torch"
    script.write_text(f'#!/bin/sh\nPYTHONPATH={modules} exec {sys.executable} "$@"\n')
    script.chmod(0o755)
    return str(script)


def call(*argv: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs the command line."""
    return subprocess.run(
        [COMPILER, *argv], capture_output=True, text=True, check=False, timeout=1800, **options
    )


def running(bundle: Bundle, run: str) -> bool:
    """Tells whether both hosts run the program of a run."""
    if not list(bundle.results.glob("*/run.json")):
        return False
    marks = {"DEEPEP_RUN_ID": bundle.json("run.json")["run_id"], "DEEPEP_RUN": run}
    return all(processes.with_environment({**marks, "DEEPEP_HOST": host}) for host in HOSTS)


def lose_controller(bundle: Bundle, run: str, *options: str) -> None:
    """Plays the bundle and kills Ansible, all of its processes, once a run is under way."""
    site = subprocess.Popen(
        bundle.command("site.yml", *options), cwd=bundle.folder, env=bundle.environment(),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        wait_until(lambda: running(bundle, run), 900)
    finally:
        os.killpg(site.pid, signal.SIGKILL)
        site.wait()


def verdicts(bundle: Bundle) -> dict[str, str]:
    """Returns the verdicts of the summary."""
    return {run["run"]: run["verdict"] for run in bundle.json("summary.json")["runs"]}


def notes(bundle: Bundle, run: str) -> str:
    """Returns the notes of a run as one text."""
    return " | ".join(bundle.json(f"{run}/verdict.json")["notes"])


@pytest.fixture(scope="module")
def lost(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, dict[str, Any]]:
    """A controller that was killed in the middle, and the session resumed twice.

    ``before`` had passed. ``going`` was under way, with a background run that ends with it. ``later`` was not
    started, and fails until a file is there.
    """
    folder = tmp_path_factory.mktemp("lost")
    before = good_run(folder, "before")
    load = stand_in_run("load", ["phase=timing", "sleep=600"],
                        after=[{"type": "end_post_comp", "run": "going/0"}])  # fmt: skip
    going = good_run(folder, "going", [f"await={folder / 'go'}"],
                     after=[{"type": "start_post_init", "run": "load/0"}])  # fmt: skip
    later = good_run(folder, "later", [f"needs={folder / 'fixed'}"])
    overlap = [("start", load), ("start", going), ("await", going), ("finish", going), ("stop", load),
               ("finish", load)]  # fmt: skip
    steps = [
        *one_after_another([before]),
        *({"verb": verb, "run": run["id"]} for verb, run in overlap),
        *one_after_another([later]),
    ]
    bundle = Bundle(folder, [before, load, going, later], python_of(folder), steps)
    lose_controller(bundle, "going/0")
    seen: dict[str, Any] = {"first": bundle.json("run.json")["run_id"]}
    status = call("status", str(bundle.session()))
    seen["status"] = status.stdout + status.stderr
    site = subprocess.Popen(
        [COMPILER, "run", "--resume", str(bundle.session())],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    time.sleep(3.0)
    (folder / "go").touch()
    seen["once"], _ = site.communicate(timeout=1800)
    seen["code"] = site.returncode
    seen["verdicts"] = verdicts(bundle)
    (folder / "fixed").touch()
    seen["again"] = call("run", "--resume", str(bundle.session()))
    return bundle, seen


def test_a_run_that_goes_on_without_its_controller_is_found_and_judged(lost: Any) -> None:
    bundle, seen = lost
    assert seen["code"] == 3, seen["once"]
    assert "looking on the hosts for what is left of load/0, going/0" in seen["once"]
    # Judged as it was found; repeated only after that, beside the background run that proved nothing.
    found = bundle.session() / "earlier" / seen["first"] / "going/0"
    assert json.loads((found / "launch.json").read_text())["run_id"] == seen["first"]
    assert json.loads((found / "verdict.json").read_text())["verdict"] == "PASS", seen["once"]
    assert seen["verdicts"]["going/0"] == "PASS", seen["once"]
    assert seen["verdicts"]["before/0"] == "PASS"


def test_the_background_run_of_a_lost_controller_is_stopped_once_its_companion_has_ended(lost: Any) -> None:
    bundle, seen = lost
    earlier = bundle.session() / "earlier" / seen["first"]
    # It has no PASS (the stand-in proves nothing), so both were repeated together.
    found = json.loads((earlier / "load/0/verdict.json").read_text())
    assert (found["verdict"], found["reasons"][0]["code"]) == ("UNVERIFIED", "program-unverified")
    assert "stopped when going/0 ended, as planned" in found["notes"][0]


def test_what_has_no_pass_is_repeated_and_the_rest_is_kept(lost: Any) -> None:
    bundle, seen = lost
    again = seen["again"]
    assert again.returncode == 3, again.stdout + again.stderr
    assert "3 of 4 runs are repeated, 1 kept" in again.stderr
    assert "also going/0: what is asked for needs them" in again.stderr
    assert verdicts(bundle) == {
        "before/0": "PASS",
        "load/0": "UNVERIFIED",
        "going/0": "PASS",
        "later/0": "PASS",
    }
    described = bundle.json("run.json")
    # A test below adds one.
    assert [one["status"] for one in described["executions"]][:3] == ["lost", "finished", "finished"]
    assert described["executions"][-1]["run_id"] == described["run_id"] != seen["first"]


def test_the_report_is_whole_and_says_what_came_from_where(lost: Any) -> None:
    bundle, seen = lost
    assert f"kept from {seen['first']}" in notes(bundle, "before/0")
    assert "repeated: what" in notes(bundle, "later/0")
    assert bundle.json("before/0/launch.json")["run_id"] == seen["first"]
    page = next(bundle.session().glob("*.html")).read_text()
    assert f"ept from {seen['first']}" in page
    assert (
        bundle.session() / "earlier" / bundle.json("run.json")["executions"][1]["run_id"] / "later/0"
    ).is_dir()


def test_status_tells_that_the_controller_is_gone(lost: Any) -> None:
    _, seen = lost
    assert "its controller is gone" in seen["status"]


def test_nothing_is_left_on_the_hosts(lost: Any) -> None:
    bundle, _ = lost
    # Other tests have hosts and runs of the same names.
    for one in bundle.json("run.json")["executions"]:
        marks = {"DEEPEP_RUN_ID": one["run_id"], "DEEPEP_HOST": "local-1", "DEEPEP_RUN": "going/0"}
        assert not processes.with_environment(marks)
    assert not list(bundle.work_dir.glob("2*"))


def test_only_repeats_what_it_names_also_where_that_has_passed(lost: Any) -> None:
    bundle, _ = lost
    unknown = call("run", "--resume", str(bundle.session()), "--only", "nothing")
    assert unknown.returncode == 1
    assert "no entry or run has that id; the entries are before, load, going, later" in unknown.stderr
    before = bundle.json("later/0/launch.json")["run_id"]
    done = call("run", "--resume", str(bundle.session()), "--only", "later/0")
    assert "1 of 4 runs are repeated, 3 kept" in done.stderr
    assert bundle.json("later/0/launch.json")["run_id"] != before
    assert verdicts(bundle)["before/0"] == "PASS"


def test_a_changed_plan_is_refused_with_what_differs(lost: Any) -> None:
    bundle, _ = lost
    path = own_bundle(bundle.session()) / "plan.json"
    text = path.read_text()
    plan = json.loads(text)
    plan["runs"][0]["config"]["tokens"] = 256
    plan["runs"].pop()
    path.write_text(json.dumps(plan))
    try:
        done = call("run", "--resume", str(bundle.session()))
    finally:
        path.write_text(text)
    assert done.returncode == 1
    assert "later/0 is gone" in done.stderr
    assert "before/0: config.tokens was 128, is 256" in done.stderr


def test_a_session_that_is_still_played_is_waited_for(lost: Any) -> None:
    import fcntl

    bundle, _ = lost
    with (bundle.session() / ".state" / "controller.lock").open("r+") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        waiting = subprocess.Popen(
            [COMPILER, "run", "--resume", str(bundle.session()), "--only", "nothing"],
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert waiting.stderr is not None
        assert "still being played by process" in waiting.stderr.readline()
        assert waiting.poll() is None
    _, rest = waiting.communicate(timeout=120)
    assert waiting.returncode == 1
    assert "no entry or run has that id" in rest


def test_the_bundle_alone_goes_on_with_a_session(tmp_path: Path) -> None:
    good = good_run(tmp_path, "good")
    bad = good_run(tmp_path, "bad", [f"needs={tmp_path / 'fixed'}"])
    bundle = Bundle(tmp_path, [good, bad], python_of(tmp_path))
    assert bundle.play().returncode == 2
    assert verdicts(bundle) == {"good/0": "PASS", "bad/0": "FAIL"}
    first = bundle.json("run.json")["run_id"]
    (tmp_path / "fixed").touch()
    done = bundle.play("site.yml", "-e", f"deepep_results={bundle.session()}", "-e", "deepep_resume=missing")
    assert done.returncode == 0, done.stdout + done.stderr
    assert bundle.json("good/0/launch.json")["run_id"] == first
    assert verdicts(bundle) == {"good/0": "PASS", "bad/0": "PASS"}
    assert bundle.json("summary.json")["passed"] is True
    # Its controller is lost after the last run's verdict: nothing is on the hosts, and the session is open.
    described = bundle.json("run.json")
    described["executions"][-1].update(status="running", ended_at=None)
    described.update(status="running", ended_at=None)
    (bundle.session() / "run.json").write_text(json.dumps(described))
    closed = call("run", "--resume", str(bundle.session()))
    assert closed.returncode == 0, closed.stdout + closed.stderr
    described = bundle.json("run.json")
    assert described["status"] == "finished"
    assert [one["status"] for one in described["executions"]] == ["finished", "lost"]
