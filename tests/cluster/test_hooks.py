"""Hooks on real hosts: before and after a run, on its own hosts, and what a failed one stops."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.lab import Lab
from tests.cluster.runs import Launched

pytestmark = pytest.mark.cluster


def with_hooks(folder: Path, before: str = "") -> None:
    """Writes two hooks of one short test each, ``before`` being words for the stand-in of the first."""
    (folder / "hook" / "test").mkdir(parents=True)
    for name, words in (("before", before), ("after", "")):
        (folder / "hook" / f"{name}.toml").write_text(
            f'name = "{name}"\n[[Tests]]\nid = "Tests.1"\ntest_name = "{name}"\ntime_limit = "00:01:00"\n'
        )
        (folder / "hook" / "test" / f"{name}.toml").write_text(
            f'name = "{name}"\ndescription = "d"\ntest_template_name = "DeepEPBenchmark"\n'
            "[cmd_args]\ntokens = 8\nnum_experts = 8\nnum_topk = 2\nhidden_size = 256\nnum_iterations = 5\n"
            f'[extra_env_vars]\nSTAND_IN = "{words}"\n'
        )


HOOKS = 'pre_test = "before"\npost_test = "after"\n'


def test_hooks_run_around_the_test_on_its_first_host(lab: Lab, tmp_path: Path) -> None:
    with_hooks(tmp_path)
    run = Launched(lab, tmp_path, lab.hosts[:2], keys=HOOKS)
    assert run.finish() == 0, run.output() + run.ansible_log()
    for name in ("Tests.1/0/pre_test/before", "Tests.1/0", "Tests.1/0/post_test/after"):
        assert run.verdict(name)["verdict"] == "PASS"
    ended = [(event["run"], event["host"]) for event in run.events() if event["event"] == "ended"]
    assert ended[0] == ("Tests.1/0/pre_test/before", "node1")
    assert sorted(ended[1:3]) == [("Tests.1/0", "node1"), ("Tests.1/0", "node2")]
    assert ended[3:] == [("Tests.1/0/post_test/after", "node1")]


def test_a_test_whose_hook_failed_is_not_started(lab: Lab, tmp_path: Path) -> None:
    with_hooks(tmp_path, before="*:timing:exit=1")
    run = Launched(lab, tmp_path, lab.hosts[:2], keys=HOOKS)
    assert run.finish() == 3, run.output()
    assert run.verdict("Tests.1/0/pre_test/before")["verdict"] == "FAIL"
    assert run.verdict("Tests.1/0/post_test/after")["verdict"] == "NOT_RUN"
    found = run.verdict()
    assert found["verdict"] == "NOT_RUN"
    assert "before" in found["reasons"][0]["text"]
