"""Bundles under the real ansible-playbook, with a stand-in program on two hosts of this machine."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from compiler.emit.bundle import BundleInUseError
from compiler.resources import host_code
from tests.host.bundles import Bundle, compile_for_one_host, one_after_another, stand_in_run
from tests.host.conftest import events, wait_until

host_code()

from deepep_host import processes  # noqa: E402

HANG = ["ignore-term", "spawn=600", "phase=timing", "sleep=600"]
PLUGINS = Path(__file__).with_name("fixtures") / "connection_plugins"


def left_of(bundle: Bundle) -> list[str]:
    """Returns what of the bundle's session is alive, and what lies in its work directory."""
    marked = processes.with_environment({"DEEPEP_RUN_ID": bundle.json("run.json")["run_id"]})
    files = [str(path) for path in bundle.work_dir.rglob("*")] if bundle.work_dir.exists() else []
    return [processes.describe(pid) for pid in marked] + files


def reason_texts(bundle: Bundle, run: str) -> str:
    """Returns all reasons of a verdict as one text."""
    return " | ".join(reason["text"] for reason in bundle.json(f"{run}/verdict.json")["reasons"])


def job(bundle: Bundle, run: str) -> dict[str, Any]:
    """Returns job.toml of a run."""
    return tomllib.loads((bundle.session() / run / "job.toml").read_text())


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, subprocess.CompletedProcess[str]]:
    """One session with a run that ends well, one that fails, one that hangs, dependents, and an overlap."""
    good = stand_in_run(
        "good", ["say=out", "warn=err", "phase=timing", "file=results/x.txt", "random=traces/big", "sleep=1"]
    )
    bad = stand_in_run(
        "bad", ["local-2:warn=about to fail", "local-2:exit=3", "local-1:spawn=600", "sleep=600"]
    )
    needs = stand_in_run("needs-bad", ["say=x"], after=[{"type": "start_post_comp", "run": "bad/0"}])
    hang = stand_in_run("hang", HANG, time_limit_s=3)
    server = stand_in_run(
        "server", ["phase=timing", "sleep=600"], after=[{"type": "end_post_comp", "run": "client/0"}]
    )
    client = stand_in_run("client", ["say=x"], after=[{"type": "start_post_init", "run": "server/0"}])
    alone = [good, bad, needs, hang]
    overlap = [("start", server), ("start", client), ("await", client), ("finish", client), ("stop", server),
               ("await", server), ("finish", server)]  # fmt: skip
    steps = one_after_another(alone) + [{"verb": verb, "run": run["id"]} for verb, run in overlap]
    bundle = Bundle(tmp_path_factory.mktemp("mixed"), [*alone, server, client], steps=steps)
    return bundle, bundle.play()


def test_a_session_with_failures_goes_on_to_its_end_and_is_not_a_success(mixed: Any) -> None:
    bundle, done = mixed
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "not every run is PASS" in done.stdout + done.stderr
    assert bundle.json("run.json")["status"] == "finished"
    assert bundle.json("summary.json")["counts"]["PASS"] == 0


def test_a_run_that_ends_well_is_collected_whole(mixed: Any) -> None:
    bundle, _ = mixed
    folder = bundle.session() / "good/0"
    assert (folder / "stdout.txt").read_text() == "[local-1] out\n[local-2] out\n"
    assert (folder / "stderr.txt").read_text() == "[local-1] err\n[local-2] err\n"
    assert (folder / "hostfile.txt").read_text() == "local-1\nlocal-2\n"
    assert (folder / "results/x.txt").read_text() == "from local-1"
    assert {"config.yaml", "env_vars.sh", "launch.json", "test-run.toml"} <= {
        path.name for path in folder.iterdir()
    }
    # Too large to come inline: fetched in parts of its own, byte by byte the same as on the host.
    noise = hashlib.sha256((folder / "traces/big").read_bytes()).hexdigest()
    assert noise == (folder / "traces/big.sha256").read_text()
    found = job(bundle, "good/0")
    assert (found["state"], found["exit_code"]) == ("COMPLETED", 0)
    assert [(host["name"], host["outcome"], host["collected"]) for host in found["hosts"]] == [
        ("local-1", "exited", True), ("local-2", "exited", True),
    ]  # fmt: skip
    metadata = tomllib.loads((folder / "metadata/node-local-2.toml").read_text())
    assert metadata["host"]["inventory_name"] == "local-2"
    assert {"system", "mpi", "cuda", "network", "nccl", "slurm"} <= set(metadata)


def test_strings_of_the_plan_reach_the_process_without_a_template(mixed: Any) -> None:
    bundle, _ = mixed
    env = bundle.json("good/0/launch.json")["hosts"]["local-1"]["env"]
    assert env["PLAIN"] == "a 'quoted' \"value\"\nof two lines {{ 7 * 7 }} $(id)"
    assert env["FROM"] == env["PLAIN"] + "!"
    config = (bundle.session() / "good/0/config.yaml").read_text()
    assert '"odd \\"value\\": {{ 7 * 7 }} $(date)"' in config


def test_a_failure_on_one_host_stops_the_other_and_is_named_as_the_cause(mixed: Any) -> None:
    bundle, _ = mixed
    assert bundle.verdict("bad/0") == "FAIL"
    found = job(bundle, "bad/0")
    assert (found["first_failure_host"], found["exit_code"]) == ("local-2", 3)
    first, second = found["hosts"]
    assert (first["outcome"], second["outcome"]) == ("stopped", "exited")
    assert "local-2 failed first" in first["cause"]
    assert "[local-2] about to fail" in (bundle.session() / "bad/0/stderr.txt").read_text()


def test_what_depends_on_a_failure_is_not_run_and_says_why(mixed: Any) -> None:
    bundle, _ = mixed
    assert bundle.verdict("needs-bad/0") == "NOT_RUN"
    assert bundle.json("needs-bad/0/skipped.json")["because"] == "bad/0"
    assert "bad/0" in reason_texts(bundle, "needs-bad/0")


def test_a_hang_ends_at_its_time_limit_on_every_host(mixed: Any) -> None:
    bundle, _ = mixed
    assert bundle.verdict("hang/0") == "TIMEOUT"
    assert job(bundle, "hang/0")["state"] == "TIMEOUT"
    for host in job(bundle, "hang/0")["hosts"]:
        assert (host["outcome"], host["leftovers"]) == ("timeout", [])
    assert (bundle.session() / "hang/0/logs/local-1.stacks.txt").exists()
    assert "was reached by all 2 hosts in phase" in reason_texts(bundle, "hang/0")


def test_runs_overlap_and_one_is_stopped_once_the_other_has_ended(mixed: Any) -> None:
    bundle, _ = mixed
    assert [host["outcome"] for host in job(bundle, "client/0")["hosts"]] == ["exited", "exited"]
    assert [host["outcome"] for host in job(bundle, "server/0")["hosts"]] == ["stopped", "stopped"]
    # The stand-in is no program that proves anything; that it was stopped is no failure.
    assert bundle.verdict("server/0") == "UNVERIFIED"
    assert "stopped when client/0 ended, as planned" in bundle.json("server/0/verdict.json")["notes"][0]


def test_the_events_tell_the_story_of_each_run(mixed: Any) -> None:
    bundle, _ = mixed
    story = [event for event in events(bundle) if event.get("run") == "good/0"]
    assert {event["event"] for event in story} >= {"start", "ended", "collect", "verdict"}
    assert {event["host"] for event in story if event["event"] == "ended"} == {"local-1", "local-2"}


def test_after_a_session_nothing_is_left_on_the_hosts(mixed: Any) -> None:
    bundle, _ = mixed
    assert left_of(bundle) == []


def test_check_mode_probes_the_hosts_and_starts_nothing(tmp_path: Path) -> None:
    bundle = Bundle(tmp_path, [stand_in_run("run", ["say=x"])])
    done = bundle.play("site.yml", "--check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (
        "check mode: hosts were probed, nothing was staged or started, and there is no verdict" in done.stdout
    )
    assert not bundle.results.exists()
    assert not bundle.work_dir.exists()


def test_a_part_of_the_plan_is_never_a_success(tmp_path: Path) -> None:
    bundle = Bundle(tmp_path, [stand_in_run("run", ["say=x"])])
    for option in ("--limit=local-1", "--tags=x"):
        done = bundle.play("site.yml", option)
        assert done.returncode != 0
        assert "Traceback" not in done.stdout + done.stderr
        assert not bundle.results.exists()


def test_a_changed_bundle_and_another_configuration_are_refused(tmp_path: Path) -> None:
    bundle = Bundle(tmp_path, [stand_in_run("run", ["say=x"])])
    other = tmp_path / "other.cfg"
    shutil.copy(bundle.folder / "ansible.cfg", other)
    other.write_text(other.read_text().replace("= roles", f"= {bundle.folder}/roles"))
    done = subprocess.run(
        bundle.command("site.yml", "-i", "inventory/hosts.yml"), cwd=bundle.folder, capture_output=True,
        env={**bundle.environment(), "ANSIBLE_CONFIG": str(other)}, check=False, text=True,
    )  # fmt: skip
    assert done.returncode != 0
    assert "not the bundle's" in done.stdout + done.stderr
    with (bundle.folder / "plan.json").open("a") as file:
        file.write("\n")
    done = bundle.play()
    assert done.returncode != 0
    assert "changed after it was compiled: plan.json" in done.stdout + done.stderr
    assert not bundle.results.exists()


def running(bundle: Bundle, run: str) -> bool:
    """Whether both hosts run the program of ``run``."""
    if not bundle.results.exists() or not list(bundle.results.glob("*/run.json")):
        return False
    marks = {"DEEPEP_RUN_ID": bundle.json("run.json")["run_id"], "DEEPEP_RUN": run}
    return all(processes.with_environment({**marks, "DEEPEP_HOST": host}) for host in ("local-1", "local-2"))


def test_stop_ends_the_run_under_way_and_no_other_starts(tmp_path: Path) -> None:
    bundle = Bundle(tmp_path, [stand_in_run("long", HANG), stand_in_run("next", ["say=x"])])
    site = subprocess.Popen(
        bundle.command("site.yml"),
        cwd=bundle.folder,
        env=bundle.environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: running(bundle, "long/0"))
    with pytest.raises(BundleInUseError):
        compile_for_one_host(tmp_path)
    fewer = compile_for_one_host(tmp_path / "later")
    refused = fewer.play("stop.yml", "-e", f"deepep_results={bundle.session()}")
    assert refused.returncode == 2, refused.stdout + refused.stderr
    assert "it does not ask local-2; play the session's own bundle" in refused.stdout + refused.stderr
    assert running(bundle, "long/0")
    stop = bundle.play("stop.yml")
    assert stop.returncode == 0, stop.stdout + stop.stderr
    output, _ = site.communicate(timeout=120)
    assert site.returncode == 2, output
    assert [host["outcome"] for host in job(bundle, "long/0")["hosts"]] == ["stopped", "stopped"]
    assert bundle.verdict("next/0") == "NOT_RUN"
    assert bundle.json("run.json")["status"] == "interrupted"
    assert left_of(bundle) == []


def test_after_a_lost_controller_the_run_is_collected_judged_and_cleaned_up(tmp_path: Path) -> None:
    words = ["say=x", "file=results/x.txt", "phase=timing", f"await={tmp_path / 'go'}"]
    bundle = Bundle(tmp_path, [stand_in_run("long", words)])
    site = subprocess.Popen(
        bundle.command("site.yml"), cwd=bundle.folder, env=bundle.environment(), stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    wait_until(lambda: running(bundle, "long/0"))
    os.killpg(site.pid, signal.SIGKILL)
    site.wait()
    assert running(bundle, "long/0")
    (tmp_path / "go").touch()
    wait_until(lambda: not running(bundle, "long/0"))
    collect = bundle.play("collect.yml")
    assert collect.returncode == 2, collect.stdout + collect.stderr
    assert [host["outcome"] for host in job(bundle, "long/0")["hosts"]] == ["exited", "exited"]
    assert (bundle.session() / "long/0/results/x.txt").exists()
    assert left_of(bundle) == []
    cleanup = bundle.play("cleanup.yml")
    assert cleanup.returncode == 0, cleanup.stdout + cleanup.stderr


@pytest.fixture
def flaky(tmp_path: Path) -> tuple[Path, dict[str, dict[str, Any]]]:
    """A file that makes local-2 unreachable while it exists, and the variables for that."""
    gone = tmp_path / "gone"
    return gone, {"local-2": {"ansible_connection": "flaky", "flaky_gone_file": str(gone)}}


def test_an_unreachable_host_costs_only_the_runs_that_need_it(tmp_path: Path, flaky: Any) -> None:
    gone, variables = flaky
    alone = stand_in_run("alone", ["say=x"], hosts=[{"name": "local-1", "node_rank": 0}], world_size=1)
    bundle = Bundle(tmp_path, [stand_in_run("both", ["say=x"]), alone], variables=variables)
    shutil.copytree(PLUGINS, bundle.folder / "connection_plugins")
    gone.touch()
    done = bundle.play()
    assert done.returncode == 2, done.stdout + done.stderr
    assert bundle.verdict("both/0") == "NOT_RUN"
    assert "local-2 is unreachable" in bundle.json("both/0/skipped.json")["reason"]
    assert job(bundle, "alone/0")["state"] == "COMPLETED"
    assert "ansible -m ping local-2" in done.stdout


def test_a_host_lost_in_the_middle_ends_the_run_and_what_it_has_is_kept_there(
    tmp_path: Path, flaky: Any
) -> None:
    gone, variables = flaky
    bundle = Bundle(tmp_path, [stand_in_run("both", HANG, time_limit_s=120)], variables=variables)
    shutil.copytree(PLUGINS, bundle.folder / "connection_plugins")
    # With fewer forks than hosts, so that it is lost over several rounds of looks.
    site = subprocess.Popen(
        bundle.command("site.yml", "--forks=1", "-e", "deepep_run_lost_after_seconds=3"), cwd=bundle.folder,
        env=bundle.environment(), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_until(lambda: running(bundle, "both/0"))
    gone.touch()
    output, _ = site.communicate(timeout=120)
    assert site.returncode == 2, output
    first, second = job(bundle, "both/0")["hosts"]
    assert (first["outcome"], second["outcome"], second["collected"]) == ("stopped", "lost", False)
    assert "unreachable" in second["cause"]
    gone.unlink()
    assert running_on(bundle, "local-2")
    assert bundle.play("stop.yml").returncode == 0
    bundle.play("collect.yml")
    assert job(bundle, "both/0")["hosts"][1]["collected"]
    assert bundle.play("cleanup.yml").returncode == 0
    assert left_of(bundle) == []


def running_on(bundle: Bundle, host: str) -> list[int]:
    """Returns what of the bundle's session runs on one host."""
    marks = {"DEEPEP_RUN_ID": bundle.json("run.json")["run_id"], "DEEPEP_HOST": host}
    return processes.with_environment(marks)


def test_fewer_forks_than_hosts_wait_for_every_host(tmp_path: Path) -> None:
    # What has ended when the last host has started needs no second look.
    words = ["local-1:sleep=600", "local-2:sleep=5", "local-2:exit=4"]
    bundle = Bundle(tmp_path, [stand_in_run("run", words)])
    done = bundle.play("site.yml", "--forks=1", "-e", "deepep_run_poll_seconds=1")
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stdout.count("Await | Look at the run") > 1
    assert job(bundle, "run/0")["first_failure_host"] == "local-2"
    assert left_of(bundle) == []
