"""Since when a host counts as lost: the plugins themselves, with made-up answers."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from compiler.resources import host_code, resource
from tests.host.bundles import Bundle, stand_in_run

host_code()

from deepep_host.files import now_iso  # noqa: E402 - found by the line above
from deepep_host.session import Session, open_session  # noqa: E402
from deepep_host.state import ended, new_state  # noqa: E402

RUN, HOST = "run/0", "local-1"


@pytest.fixture
def session(tmp_path: Path) -> Session:
    """A session whose run is under way as far as anybody knows."""
    bundle = Bundle(tmp_path, [stand_in_run("run", ["say=x"])])
    opened = open_session(bundle.folder, bundle.results, "here", "2.19")
    opened.take_note(RUN, "rendezvous", {"address": "127.0.0.1"})
    opened.keep_host_state(RUN, HOST, new_state(opened.run_id, RUN, HOST))
    return opened


def plugin_of(action: str, session: Session, **arguments: Any) -> tuple[Any, Any]:
    """Returns an action plugin's module, and the plugin for the host as Ansible makes it."""
    path = resource("roles") / "deepep_run" / "action_plugins" / f"{action}.py"
    found = importlib.util.spec_from_file_location(action, path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    plugin = object.__new__(module.ActionModule)
    plugin._task = SimpleNamespace(args={"session": session._asdict(), **arguments}, check_mode=False)
    plugin._vars = {"inventory_hostname": HOST}
    return module, plugin


def awaited(session: Session, monkeypatch: pytest.MonkeyPatch, *problems: str | None) -> dict[str, Any]:
    """Returns the host's last state after looks that failed for these reasons (None: the run has ended)."""
    module, plugin = plugin_of("deepep_await", session, lost_after_s=30)
    over = ended(new_state(session.run_id, RUN, HOST), "exited", None)
    answers = iter([SimpleNamespace(values={} if problem else {"state": dict(over)}, problem=problem,
                                    unreachable=problem is not None) for problem in problems])  # fmt: skip
    monkeypatch.setattr(module.ActionModule, "call", lambda *_, **__: next(answers))
    monkeypatch.setattr(module, "context", SimpleNamespace(CLIARGS={"forks": 9}))
    monkeypatch.setattr(time, "sleep", lambda _: None)
    assert plugin.act()["pending"] is False
    state = session.host_state(RUN, HOST)
    assert state is not None
    return state


def test_a_silence_that_a_lost_controller_saw_does_not_count_for_the_next(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.silent_since(RUN, HOST, 1.0)
    # As adopt.yml does for every run of which there may be more on the hosts.
    session.forget_lost(RUN)
    assert awaited(session, monkeypatch, "unreachable", None)["outcome"] == "exited"


def test_a_silence_ends_with_an_answer_and_with_the_host_being_given_up(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One that began long ago, in the looks of a process before this one.
    session.silent_since(RUN, HOST, 1.0)
    assert session.silent_since(RUN, HOST, 2.0) == 1.0
    assert awaited(session, monkeypatch, "unreachable", None)["outcome"] == "lost"
    session.keep_host_state(RUN, HOST, new_state(session.run_id, RUN, HOST))
    assert awaited(session, monkeypatch, "unreachable", None)["outcome"] == "exited"
    session.keep_host_state(RUN, HOST, new_state(session.run_id, RUN, HOST))
    assert session.silent_since(RUN, HOST, 3.0) == 3.0


def test_a_host_that_is_lost_while_it_starts_has_failed_before_those_that_waited_for_it(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its program may have begun before anybody heard of that."""
    session.take_note(RUN, "rendezvous", {"master_addr": "127.0.0.1", "master_port": 1})
    module, plugin = plugin_of("deepep_start", session, run=RUN)
    failed_elsewhere = []

    def call(*_: Any, **__: Any) -> Any:
        time.sleep(0.01)
        failed_elsewhere.append(now_iso())
        return SimpleNamespace(values={}, problem="unreachable", unreachable=True)

    monkeypatch.setattr(module.ActionModule, "call", call)
    assert plugin.act()["status"] == "lost"
    state = session.host_state(RUN, HOST)
    assert state is not None
    assert state["first_failure_at"] < failed_elsewhere[0]
