"""Commands on a session from outside: hosts that do not answer, another user, options of before."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from compiler.resources import host_code
from tests.host.bundles import HOSTS, Bundle, compile_for_one_host, stand_in_run
from tests.host.test_playbook import HANG, PLUGINS
from tests.host.test_resume import COMPILER, call, good_run, lose_controller, python_of, running, verdicts

host_code()

from deepep_host import processes  # noqa: E402
from deepep_host.verbs import perform  # noqa: E402


def alive(bundle: Bundle) -> list[int]:
    """Returns what runs of the bundle's session."""
    return processes.with_environment({"DEEPEP_RUN_ID": bundle.json("run.json")["run_id"]})


def end_all(bundle: Bundle) -> None:
    """Leaves nothing running, whatever a test found."""
    processes.end_all(lambda: alive(bundle), 0.1)


def foreign(folder: Path) -> Path:
    """Returns a directory of another user than the one who runs the tests."""
    if os.geteuid():
        return Path("/usr")
    folder.mkdir()
    os.chown(folder, 65534, 65534)
    return folder


@pytest.fixture
def lost(tmp_path: Path) -> Any:
    """A run that hangs without a controller, on hosts that are away while ``tmp_path / "gone"`` is there.

    Its scenario was compiled anew since, for fewer hosts.
    """
    variables = {"ansible_connection": "flaky", "flaky_gone_file": str(tmp_path / "gone")}
    bundle = Bundle(
        tmp_path, [stand_in_run("long", HANG, time_limit_s=900)], variables=dict.fromkeys(HOSTS, variables)
    )
    shutil.copytree(PLUGINS, bundle.folder / "connection_plugins")
    lose_controller(bundle, "long/0")
    compile_for_one_host(tmp_path)
    yield bundle
    end_all(bundle)


def test_stop_says_which_hosts_were_not_stopped_and_may_be_repeated(lost: Bundle, tmp_path: Path) -> None:
    (tmp_path / "gone").touch()
    status = call("status", str(lost.session()))
    assert status.returncode == 1, status.stdout + status.stderr
    for host in HOSTS:
        assert f"{host}: does not answer (host {host} is unreachable" in status.stdout
        assert f"{host}: running" not in status.stdout
    assert "before: running" in status.stdout
    assert " s ago" in status.stdout
    following_says_it_once(lost, tmp_path)
    stopped = call("stop", str(lost.session()), "-e", "deepep_collect_lost_after_seconds=0")
    assert stopped.returncode == 3, stopped.stdout + stopped.stderr
    assert "NOT STOPPED everywhere" in stopped.stderr
    assert "stopped;" not in stopped.stdout
    for host in HOSTS:
        assert f"{host}: long/0 may go on here: host {host} is unreachable" in stopped.stderr
    assert running(lost, "long/0")
    assert lost.json("run.json")["status"] == "interrupted"

    (tmp_path / "gone").unlink()
    again = call("stop", str(lost.session()))
    assert "stopped; what was there is in" in again.stdout, again.stdout + again.stderr
    assert alive(lost) == []
    assert "NOT STOPPED" not in again.stderr
    once_more = call("stop", str(lost.session()))
    assert once_more.returncode == 0, once_more.stderr
    assert "nothing to stop" in once_more.stdout


def following_says_it_once(bundle: Bundle, tmp_path: Path) -> None:
    """Follows the logs of a session whose hosts are away, which then answer again."""
    gone = tmp_path / "gone"
    with subprocess.Popen(
        [COMPILER, "logs", "-f", bundle.session()],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    ) as logs:
        assert logs.stderr is not None
        try:
            said = [logs.stderr.readline() for _ in HOSTS]
            gone.unlink()
            said += [logs.stderr.readline() for _ in HOSTS]
        finally:
            logs.kill()
    gone.touch()
    away = [
        f"deepep-compiler: {host} does not answer, what it prints comes later: host {host}" for host in HOSTS
    ]
    back = [f"deepep-compiler: {host} answers again\n" for host in HOSTS]
    assert [line[: len(wanted)] for line, wanted in zip(said, [*away, *back], strict=True)] == [*away, *back]


def test_another_user_neither_stops_nor_loses_nor_repeats_a_run(lost: Bundle, tmp_path: Path) -> None:
    notes = [lost.session() / ".state" / "staged" / f"{host}.json" for host in HOSTS]
    before = [note.read_text() for note in notes]
    assert all(json.loads(text)["work_dir"] == str(lost.work_dir) for text in before)
    theirs = foreign(tmp_path / "theirs")
    for note, text in zip(notes, before, strict=True):
        note.write_text(json.dumps({**json.loads(text), "work_dir": str(theirs), "program": str(theirs)}))

    stopped = call("stop", str(lost.session()))
    assert stopped.returncode == 3, stopped.stdout + stopped.stderr
    assert f"local-1: long/0 may go on here: {theirs} is of user " in stopped.stderr
    assert running(lost, "long/0")

    resumed = call("run", "--resume", str(lost.session()))
    assert resumed.returncode == 1, resumed.stdout + resumed.stderr
    assert "nothing is repeated" in resumed.stderr
    assert f"{theirs} is of user " in resumed.stderr
    assert running(lost, "long/0")
    assert not (lost.session() / "earlier").exists()

    for note, text in zip(notes, before, strict=True):
        note.write_text(text)
    assert "stopped; what was" in call("stop", str(lost.session())).stdout
    assert alive(lost) == []


@pytest.mark.parametrize("verb", ["state", "stop", "pack", "look"])
def test_a_host_tells_another_user_whose_the_session_is(tmp_path: Path, verb: str) -> None:
    given = {
        "work_dir": str(foreign(tmp_path / "theirs")), "run_id": "r", "host": "h", "run": "a/0",
        "cause": "x", "runs": {},
    }  # fmt: skip
    answer = perform(verb, given)
    assert answer["failed"]
    assert answer["other_user"]
    assert "connect as the user who started the session" in answer["msg"]
    given["work_dir"] = str(tmp_path / "nothing")
    assert "other_user" not in perform(verb, given)


def test_what_reached_the_hosts_at_first_reaches_them_later(tmp_path: Path) -> None:
    """The documented ``run --resume RESULTS``: without the options that the run began with."""
    variables = {"ansible_connection": "flaky", "flaky_gone_file": "{{ ansible_gone }}"}
    bundle = Bundle(
        tmp_path,
        [good_run(tmp_path, "good", [f"await={tmp_path / 'go'}"])],
        python_of(tmp_path),
        variables=dict.fromkeys(HOSTS, variables),
    )
    shutil.copytree(PLUGINS, bundle.folder / "connection_plugins")
    more = tmp_path / "more.yml"
    more.write_text("harmless: true\n")
    options = [
        "-e", f"ansible_gone={tmp_path / 'gone'} my_password=hunter2", "-e", f"@{more}", "--timeout=20",
        "-e", json.dumps({"ansible_become_pass": "hunter2", "deepep_registries": [{"password": "hunter2"}]}),
        "--ssh-common-args=-o Compression=no",
    ]  # fmt: skip
    try:
        lose_controller(bundle, "good/0", *options)
        first = bundle.json("run.json")["run_id"]
        assert bundle.json("run.json")["reached_with"] == {
            "inventories": [],
            "extra_vars": [json.dumps({"ansible_gone": str(tmp_path / "gone")}), f"@{more}"],
            "options": ["--ssh-common-args=-o Compression=no", "--timeout=20"],
            "left_out": ["-e my_password", "-e ansible_become_pass", "-e deepep_registries"],
        }
        status = call("status", str(bundle.session()))
        assert "local-2: running" in status.stdout, status.stdout + status.stderr
        (tmp_path / "go").touch()
        resumed = call("run", "--resume", str(bundle.session()))
    finally:
        end_all(bundle)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert verdicts(bundle) == {"good/0": "PASS"}
    assert bundle.json("good/0/launch.json")["run_id"] == first, "it was repeated"
    assert "hunter2" not in (bundle.session() / "run.json").read_text()
