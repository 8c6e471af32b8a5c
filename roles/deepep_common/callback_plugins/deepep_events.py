"""Appends what Ansible does to the session's events.jsonl, for a live display and for later."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "module_utils"))

from ansible.plugins.callback import CallbackBase

# Ansible forks a process for every task of every host: what is loaded here need not be loaded there.
from deepep_host import assemble, events, judge, own_bundle, pack  # noqa: F401
from deepep_host.session import SessionError, hold, preload

DOCUMENTATION = """
name: deepep_events
type: notification
short_description: Appends tasks, and hosts that failed, to the session's events.jsonl
description:
  - Begins once a task has opened or found a session, ends with the task that closes it.
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """Knows the session from the result of the task that opened it."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "deepep_events"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._folder: str | None = None
        self._held: int | None = None
        self._play = ""

    def v2_playbook_on_start(self, playbook: Any) -> None:
        """Marks the bundle as being played, by Ansible's main process: nobody replaces it meanwhile."""
        own_bundle.hold(Path(playbook._basedir))

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """Remembers the play, which every task's event names."""
        self._play = play.get_name()

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        """Notes that a task begins."""
        if self._folder and not task.implicit:
            events.append(self._folder, "task", play=self._play, task=task.get_name())

    def v2_runner_on_ok(self, result: Any) -> None:
        """Finds the session, or its end, in the result of a task."""
        data = _data(result)
        opened = (data.get("ansible_facts") or {}).get("deepep_session")
        if opened:
            self._folder = str(opened["results_dir"])
            with contextlib.suppress(SessionError):
                preload(Path(self._folder))
            if data.get("holds") and self._held is None:
                # In Ansible's main process: the mark lasts as long as somebody plays the session.
                self._held = hold(Path(self._folder))
        if "passed" in data:
            self._leave()

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """Notes a host's failure."""
        data = _data(result)
        if "passed" in data:
            self._leave()
        self._trouble("failed", result, data)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """Notes that a host could not be reached."""
        self._trouble("unreachable", result, _data(result))

    def _leave(self) -> None:
        self._folder = None
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def _trouble(self, status: str, result: Any, data: Any) -> None:
        if self._folder:
            text = str(data.get("msg", ""))[:2000]
            host = getattr(result, "host", None) or result._host
            events.append(
                self._folder, "task", play=self._play, host=host.get_name(), status=status, message=text
            )


def _data(result: Any) -> Any:
    # ansible-core 2.19 renamed it and warns about the old name.
    return result.result if hasattr(result, "result") else result._result
