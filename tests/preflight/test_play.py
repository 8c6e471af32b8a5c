"""Preflight and self-test under the real ansible-playbook, on two hosts of this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from compiler.resources import host_code
from compiler.runner.preflight import text_of
from compiler.schema import store
from tests.host.bundles import HOSTS, Bundle, one_after_another, stand_in_run
from tests.host.conftest import events

host_code()

from deepep_host import processes  # noqa: E402

WHOLE = store.load("preflight")
HOST = {**store.load("preflight"), **WHOLE["$defs"]["host"]}  # type: ignore[index]


def validated(bundle: Bundle) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Returns preflight.json and each host's part, checked against their schema."""
    whole = bundle.json("preflight.json")
    jsonschema.Draft202012Validator(WHOLE).validate(whole)
    hosts = {host: bundle.json(f"preflight/{host}.json") for host in HOSTS}
    for found in hosts.values():
        jsonschema.Draft202012Validator(HOST).validate(found)
    return whole, hosts


def listeners(bundle: Bundle) -> list[int]:
    """Returns what the session left running."""
    return processes.with_environment({"DEEPEP_RUN_ID": bundle.json("run.json")["run_id"]})


def test_preflight_alone_examines_the_hosts_and_leaves_nothing(tmp_path: Path) -> None:
    bundle = Bundle(tmp_path, [stand_in_run("both", ["say=x"])])
    done = bundle.play("preflight.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    whole, hosts = validated(bundle)
    assert (whole["result"], whole["refused"]) == ("pass", {})
    (line,) = [line for line in hosts["local-2"]["checks"] if line["name"] == "bootstrap"]
    assert line["text"].startswith("reaches local-1 at 127.0.0.1, ports ")
    assert "gpu_driver" in hosts["local-1"]["not_needed"]
    assert not (bundle.session() / "both").exists()
    assert bundle.json("run.json")["status"] == "preflight"
    assert (listeners(bundle), bundle.work_dir.exists()) == ([], False)
    assert "preflight of 2 hosts: 2 pass" in (text_of(bundle.session()) or "")


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, str]:
    """A session whose first run needs GPUs and RDMA, which this machine lacks, and whose second does not."""
    needy = stand_in_run("needy", ["say=x"], backend="deepep_v1", ranks_per_host=8, world_size=16)
    bundle = Bundle(tmp_path_factory.mktemp("mixed"), [needy, stand_in_run("plain", ["say=x"])])
    done = bundle.play()
    return bundle, done.stdout + done.stderr


def test_a_run_that_the_hosts_cannot_carry_is_not_run_and_the_others_are(mixed: Any) -> None:
    bundle, output = mixed
    assert bundle.verdict("needy/0") == "NOT_RUN"
    reason = bundle.json("needy/0/verdict.json")["reasons"][0]["text"]
    assert "host local-1 did not pass its preflight" in reason
    assert "nvidia-smi is not installed" in reason
    assert "no RDMA adapter" in reason
    whole, _ = validated(bundle)
    assert list(whole["refused"]) == ["needy/0"]
    assert bundle.json("plain/0/launch.json")["hosts"]["local-1"]
    assert "fail     rdma" in output


def test_it_is_refused_before_anything_is_staged(mixed: Any) -> None:
    bundle, _ = mixed
    story = [(event["event"], event.get("run")) for event in events(bundle)]
    assert story.index(("skip", "needy/0")) < story.index(("stage", None))


def test_a_failure_that_is_tolerated_is_a_warning(tmp_path: Path) -> None:
    needy = stand_in_run(
        "needy", ["say=x"], backend="nccl", ranks_per_host=8, world_size=16, container_runtime="podman"
    )
    bundle = Bundle(tmp_path, [needy])
    given = {
        "deepep_preflight_tolerate": ["gpu_driver", "container"],
        "deepep_jit_cache_dir": str(tmp_path / "jit"),
    }
    done = bundle.play("preflight.yml", "-e", json.dumps(given))
    assert done.returncode == 0, done.stdout + done.stderr
    whole, hosts = validated(bundle)
    (line,) = [line for line in hosts["local-1"]["checks"] if line["name"] == "gpu_driver"]
    assert (whole["result"], line["result"]) == ("warn", "warn")
    assert line["text"].endswith("(tolerated: deepep_preflight_tolerate)")
    (line,) = [line for line in hosts["local-1"]["checks"] if line["name"] == "jit_cache"]
    assert f"deepep_jit_cache_dir {tmp_path / 'jit'}" in line["text"]


def test_every_host_alone_first_and_a_failure_stops_what_needs_the_host(tmp_path: Path) -> None:
    alone = [
        stand_in_run(
            f"selftest.{host}", ["phase=timing", "local-2:exit=3", "sleep=2"], world_size=1,
            hosts=[{"name": host, "node_rank": 0}],
        )
        for host in HOSTS
    ]  # fmt: skip
    both = stand_in_run("both", ["say=x"])
    bundle = Bundle(
        tmp_path,
        [*alone, both],
        steps=one_after_another([both]),
        selftest={host: f"selftest.{host}/0" for host in HOSTS},
    )
    done = bundle.play("site.yml", "-e", "deepep_collect_limit_mb=5")
    assert done.returncode == 2, done.stdout + done.stderr
    found = bundle.json("selftest.json")
    jsonschema.Draft202012Validator(store.load("selftest")).validate(found)
    assert "local-2" in found["failed"]
    assert "exit code 3" in found["hosts"]["local-2"]["reason"]
    assert "self-test of 2 hosts" in done.stdout
    assert bundle.verdict("both/0") == "NOT_RUN"
    assert "did not pass its self-test" in bundle.json("both/0/verdict.json")["reasons"][0]["text"]
    # Both were started before either was waited for.
    story = [event["event"] for event in events(bundle) if str(event.get("run")).startswith("selftest.")]
    assert story.index("ended") > max(place for place, name in enumerate(story) if name == "start")
    assert [event for event in events(bundle) if event["event"] == "selftest"]
    # What the inventory says of runs holds for them.
    fetched = bundle.json(".state/runs/selftest.local-1/0/collected-local-1.json")
    assert fetched["limit_bytes"] == 5 << 20
    assert (listeners(bundle), bundle.work_dir.exists()) == ([], False)
