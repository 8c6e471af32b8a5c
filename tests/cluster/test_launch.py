"""Runs over SSH on four real hosts: any number of forks, users who are not root, jump hosts, interfaces."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cluster.lab import Lab
from tests.cluster.runs import COMPILER, PATIENCE_S, Launched

pytestmark = pytest.mark.cluster


def test_a_plain_user_behind_a_jump_host_with_fewer_forks_than_hosts(lab: Lab, tmp_path: Path) -> None:
    for host in lab.hosts:
        host.forget()
    with lab.behind_jump_host() as option:
        run = Launched(
            lab,
            tmp_path,
            lab.hosts,
            stand_in="*:timing:lasts=3",
            options=["--forks", "2", "--user", "perf"],
            variables={"ansible_ssh_common_args": option, "deepep_master_interface": "eth0"},
        )
        assert run.finish() == 0, run.output() + run.ansible_log()
    assert run.verdict()["verdict"] == "PASS"
    launch = json.loads((run.session / "Tests.1" / "0" / "launch.json").read_text())
    assert launch["master_addr"] == lab.hosts[0].address
    for host in lab.hosts:
        assert not host.of_benchmark()
        assert not host.exists("/var/tmp/deepep-root"), "done as root"  # noqa: S108


def test_a_user_who_becomes_root(lab: Lab, tmp_path: Path) -> None:
    lab.hosts[0].forget()
    run = Launched(lab, tmp_path, lab.hosts[:2], options=["--user", "ops", "--become"])
    assert run.finish() == 0, run.output() + run.ansible_log()
    assert run.verdict()["verdict"] == "PASS"
    assert not lab.hosts[0].exists("/var/tmp/deepep-ops"), "not done as root"  # noqa: S108


def test_an_address_that_the_inventory_names_per_host(lab: Lab, tmp_path: Path) -> None:
    first, second = lab.hosts[:2]
    first.run("ip", "address", "add", "192.0.2.77/32", "dev", "eth0")
    second.run("ip", "route", "add", "192.0.2.77/32", "via", first.address)
    own = {first.name: {"deepep_master_address": "192.0.2.77"}}
    try:
        run = Launched(lab, tmp_path / "own", [first, second], per_host=own)
        assert run.finish() == 0, run.output() + run.ansible_log()
        launch = json.loads((run.session / "Tests.1" / "0" / "launch.json").read_text())
        assert launch["master_addr"] == "192.0.2.77"
        assert run.verdict()["verdict"] == "PASS"
    finally:
        first.run("ip", "address", "del", "192.0.2.77/32", "dev", "eth0")
        second.run("ip", "route", "del", "192.0.2.77/32")
    run = Launched(lab, tmp_path / "gone", [first, second], per_host=own)
    assert run.finish() == 3, run.output()
    found = run.verdict()
    assert found["verdict"] == "NOT_RUN"
    assert "deepep_master_address 192.0.2.77 is no address of this host" in found["reasons"][0]["text"]
    assert f"{first.address} (eth0)" in found["reasons"][0]["text"]


def test_two_users_never_share_a_host_and_the_first_is_stopped_as_it_began(lab: Lab, tmp_path: Path) -> None:
    first = Launched(
        lab,
        tmp_path,
        lab.hosts[:2],
        stand_in="*:timing:lasts=240",
        options=["--user", "perf"],
        time_limit_s=280,
    )
    first.wait_for_phase("timing")
    second = Launched(lab, tmp_path / "second", lab.hosts[:2], options=["--user", "ops", "--become"])
    assert second.finish() == 3, second.output()
    found = second.verdict()
    assert found["verdict"] == "NOT_RUN", second.output()
    began = json.loads((first.session / "run.json").read_text())
    assert f"in use by session {began['run_id']} of root on {began['controller']}" in json.dumps(
        found["reasons"]
    )
    assert f"results in {first.session}" in json.dumps(found["reasons"])
    # Nobody says again that it was begun as another user.
    lab.controller.vanish()
    first.process.wait(PATIENCE_S)
    stopped = lab.controller.run(COMPILER, "stop", first.session, check=False, timeout=PATIENCE_S)
    assert "stopped; what was there is in" in stopped.stdout, stopped.stdout + stopped.stderr
    assert not any(host.of_benchmark() for host in first.hosts)


def test_an_interface_that_is_not_there_is_named(lab: Lab, tmp_path: Path) -> None:
    run = Launched(lab, tmp_path, lab.hosts[:2], variables={"deepep_master_interface": "ib9"})
    assert run.finish() == 3, run.output()
    found = run.verdict()
    assert found["verdict"] == "NOT_RUN"
    assert "ib9" in found["reasons"][0]["text"]
    assert "eth0" in found["reasons"][0]["text"], "it says which ones there are"
