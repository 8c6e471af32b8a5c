"""Whether a run may start now: by what became of those that it depends on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from compiler.resources import host_code
from tests.judge.tree import make_run, write_tree

host_code()

from deepep_host.judge import judge_run  # noqa: E402
from deepep_host.session import Session, find_session, gate  # noqa: E402

PRE, MAIN, POST = "A/0/pre_test/quick", "A/0", "A/0/post_test/last"


@pytest.fixture
def session(tmp_path: Path) -> Session:
    """A session with a run that has a hook before and one after it; nothing has run yet."""
    runs = [
        {**make_run("A/0"), "id": PRE},
        {**make_run("A/0"), "after": [{"type": "pre_test", "run": PRE}]},
        {**make_run("A/0"), "id": POST, "after": [{"type": "post_test", "run": MAIN}]},
    ]
    folder = write_tree(tmp_path, [])
    plan = json.loads((folder / "plan.json").read_text())
    (folder / "plan.json").write_text(json.dumps({**plan, "runs": runs}))
    return find_session(folder)


def ended(session: Session, run: str, verdict: str) -> None:
    """Leaves a verdict."""
    session.run_dir(run).mkdir(parents=True, exist_ok=True)
    (session.run_dir(run) / "verdict.json").write_text(json.dumps({"verdict": verdict}))


def refused(session: Session, run: str) -> dict[str, Any] | None:
    """Returns what keeps a run from starting."""
    return gate(session, session.run(run))


@pytest.mark.parametrize("verdict", ["FAIL", "TIMEOUT", "INVALID", "NOT_RUN"])
def test_a_hook_that_failed_keeps_its_run_and_the_hook_after_it_from_starting(
    session: Session, verdict: str
) -> None:
    assert refused(session, PRE) is None
    ended(session, PRE, verdict)
    found = refused(session, MAIN)
    assert found is not None
    assert found["because"] == PRE
    session.skip(MAIN, str(found["reason"]), found["because"])
    after = refused(session, POST)
    assert after == {"reason": "it follows A/0, which was not started", "because": MAIN}
    session.skip(POST, str(after["reason"]), after["because"])
    judged = [judge_run(session.run(run), session.run_dir(run)) for run in (MAIN, POST)]
    assert [one["verdict"] for one in judged] == ["NOT_RUN", "NOT_RUN"]
    assert [one["reasons"][0]["code"] for one in judged] == ["dependency-not-passed"] * 2


@pytest.mark.parametrize("verdict", ["PASS", "UNVERIFIED"])
def test_a_hook_that_completed_lets_its_run_start(session: Session, verdict: str) -> None:
    ended(session, PRE, verdict)
    assert refused(session, MAIN) is None


@pytest.mark.parametrize("verdict", ["PASS", "FAIL", "TIMEOUT"])
def test_the_hook_after_a_run_follows_however_that_ended(session: Session, verdict: str) -> None:
    ended(session, MAIN, verdict)
    assert refused(session, POST) is None


def test_only_what_was_started_and_is_not_whole_here_may_have_more_on_its_hosts(session: Session) -> None:
    run = session.run(MAIN)
    assert not session.unsettled(run)
    session.take_note(MAIN, "rendezvous", {"master_port": 1})
    assert session.unsettled(run)
    ended(session, MAIN, "FAIL")
    assert session.unsettled(run)
    session.take_note(MAIN, "collected-node1", {"complete": True})
    assert session.unsettled(run)
    assert not session.unsettled(run, "node1")
    session.take_note(MAIN, "collected-node2", {"complete": True})
    assert not session.unsettled(run)
    session.take_note(MAIN, "collected-node2", {"complete": False})
    ended(session, MAIN, "PASS")
    assert not session.unsettled(run)


def test_a_run_that_an_execution_keeps_is_not_looked_for(session: Session) -> None:
    session.take_note(MAIN, "rendezvous", {"master_port": 1})
    session.update(executions=[{"run_id": "a", "repeated": None}, {"run_id": "b", "repeated": [PRE]}])
    assert (session.kept(PRE), session.kept(MAIN)) == (False, True)
    assert not session.unsettled(session.run(MAIN))
    session.skip(MAIN, "it shall stay as it is")
    assert session.skipped(MAIN) is None
