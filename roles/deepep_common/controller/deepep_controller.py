"""What the action plugins share: a call to a host that never raises for a host's failure, and the session.

Ansible takes a host that fails, or cannot be reached, out of the rest of the play. A benchmark needs its
other hosts stopped, collected and judged all the same: so these plugins return what happened as data.
"""

from __future__ import annotations

import json
import shlex
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "module_utils"))

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase
from deepep_host.session import Session, SessionError

_VERBS = {
    "deepep_start": "start",
    "deepep_state": "state",
    "deepep_stop": "stop",
    "deepep_pack": "pack",
    "deepep_look": "look",
    "deepep_rendezvous": "rendezvous",
    "deepep_image": "image",
    "deepep_preflight_image": "content",
}
"""Modules that do what the staged program does too (deepep_host/verbs.py)."""

_WHERE_STAGED = frozenset({*_VERBS, "deepep_cleanup"} - {"deepep_rendezvous", "deepep_image"})
"""Modules that act on what was staged: where that was, not where it would be now or for this user."""

RETRY_S = 3.0


class Answer(NamedTuple):
    """What became of one module on a host: ``problem`` is None where it did its work."""

    values: dict[str, Any]
    problem: str | None
    unreachable: bool


class DeepEPAction(ActionBase):  # type: ignore[misc]
    """Base of all action plugins here. Subclasses implement ``act`` and list their arguments."""

    _supports_check_mode = True
    _requires_connection = False
    TRANSFERS_FILES = False
    ARGUMENTS: frozenset[str] = frozenset()
    RETRIES = 1
    """How often a host that cannot be reached is asked again; 0 for plugins with a patience of their own."""

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Runs the action; errors of ours become one clear line, never a traceback."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        unknown = set(self._task.args) - self.ARGUMENTS
        if unknown:
            raise AnsibleActionFail(f"unknown argument: {', '.join(sorted(unknown))}")
        self._vars: dict[str, Any] = task_vars or {}
        self._facts: dict[str, Any] = {}
        try:
            result.update(self.act())
        except (SessionError, OSError, ValueError, KeyError) as error:
            text = f"missing {error}" if isinstance(error, KeyError) else str(error)
            return {**result, "failed": True, "msg": text}
        if self._facts:
            result["ansible_facts"] = {**self._facts, **result.get("ansible_facts", {})}
        return result

    def act(self) -> dict[str, Any]:
        """Does the work and returns the task's result."""
        raise NotImplementedError

    @property
    def host(self) -> str:
        """The inventory name of the host that this task runs for."""
        return str(self._vars["inventory_hostname"])

    @property
    def check_mode(self) -> bool:
        """Whether nothing may be changed."""
        return bool(self._task.check_mode)

    def argument(self, name: str, default: Any = None) -> Any:
        """Returns an argument of the task, ``default`` where it is absent or empty."""
        value = self._task.args.get(name)
        return default if value is None or value == "" else value

    def session(self) -> Session:
        """Returns the open session. Raises SessionError where no play has opened one."""
        given = self.argument("session")
        if not isinstance(given, dict) or not given.get("results_dir"):
            raise SessionError(
                "no open session: the play that opens it did not run. Run the bundle's whole playbook from "
                "its directory, without --limit, --tags or --start-at-task"
            )
        return Session.of_fact(given)

    def call(self, module: str, **arguments: Any) -> Answer:
        """Runs a module on this task's host, or has the program staged there do the same.

        A host out of reach is asked ``RETRIES`` times more: its network or its sshd may have been away for a
        moment. Modules may be run twice: a run that was started stays as it is.
        """
        if module in _WHERE_STAGED:
            arguments.update(self._work_dir())
        answer = self._call(module, arguments)
        for _ in range(self.RETRIES):
            if not answer.unreachable:
                break
            time.sleep(RETRY_S)
            answer = self._call(module, arguments)
        return answer

    def _call(self, module: str, arguments: dict[str, Any]) -> Answer:
        staged = self._staged() if module in _VERBS else None
        answer = self._ask_staged(staged, _VERBS[module], arguments) if staged else None
        if answer is not None:
            return answer
        try:
            values = self._execute_module(module_name=module, module_args=arguments, task_vars=self._vars)
        except AnsibleConnectionFailure as error:
            self._reset()
            return Answer({}, f"host {self.host} is unreachable: {_why_unreachable(error, self.host)}", True)
        except AnsibleError as error:
            return Answer({}, f"module {module} did not run on {self.host}: {_one_line(error)}", False)
        self._facts.update(values.pop("ansible_facts", None) or {})
        values.pop("invocation", None)
        if values.get("unreachable"):
            return Answer(values, f"host {self.host} is unreachable: {values.get('msg')}", True)
        if values.get("failed"):
            return Answer(values, _why(values), False)
        return Answer(values, None, False)

    def _work_dir(self) -> dict[str, Any]:
        given = self.argument("session")
        staged = self.session().staged(self.host) if isinstance(given, dict) and given else None
        return {"work_dir": staged["work_dir"]} if staged and staged.get("work_dir") else {}

    def _staged(self) -> dict[str, Any] | None:
        """Returns where this host's program lies, None where only a module can reach the host."""
        given = self.argument("session")
        if self.check_mode or not isinstance(given, dict) or not self._is_pipelining_enabled("new"):
            return None
        return self.session().staged(self.host)

    def _ask_staged(self, staged: dict[str, Any], verb: str, arguments: dict[str, Any]) -> Answer | None:
        """Returns the staged program's answer; None where it gave none, because it is not there any more.

        A module costs half a second of both machines' time, most of it for Ansible itself; this, a tenth.
        """
        argv = [staged["interpreter"], "-I", "-S", f"{staged['program']}/verb.py", verb]
        command = f"{self._compute_environment_string()} {shlex.join(argv)}".strip()
        try:
            done = self._low_level_execute_command(command, in_data=json.dumps(arguments).encode("ascii"))
        except AnsibleConnectionFailure as error:
            self._reset()
            return Answer({}, f"host {self.host} is unreachable: {_why_unreachable(error, self.host)}", True)
        except AnsibleError:
            return None
        _, mark, text = done["stdout"].rpartition("@deepep@")
        try:
            values = json.loads(text) if mark and done["rc"] == 0 else None
        except ValueError:
            values = None
        if not isinstance(values, dict):
            return None
        return Answer(values, str(values["msg"]) if values.get("failed") else None, False)

    @property
    def of_another_user(self) -> bool:
        """Whether files on the host are another user's than the connection's: only a module can read them."""
        return bool(self._play_context.become)

    def fetch_file(self, source: str, target: Path) -> None:
        """Fetches a file from this task's host. Raises AnsibleError; the next attempt connects anew."""
        try:
            self._connection.fetch_file(source, str(target))
        except AnsibleError:
            self._reset()
            raise

    def _reset(self) -> None:
        # The next attempt must not wait on a connection that is dead already.
        try:
            self._connection.reset()
        except (AnsibleError, NotImplementedError, AttributeError, OSError):
            self._connection.close()


def told_at_end(state: dict[str, Any]) -> dict[str, Any]:
    """Returns what the event ``ended`` tells of a host's last state."""
    return {name: state[name] for name in ("outcome", "exit_code", "cause", "elapsed_s")}


def _why(values: dict[str, Any]) -> str:
    """Returns the message of a module that failed, with the telling line of what it left behind."""
    message = str(values.get("msg") or "")
    if message and not message.startswith(("MODULE FAILURE", "Module result deserialization failed")):
        return message
    texts = [message]
    for name in ("module_stderr", "exception", "module_stdout"):
        lines = str(values.get(name) or "").strip().splitlines()
        if lines:
            texts.append(lines[-1] if lines[0].startswith("Traceback") else lines[0])
            break
    return ": ".join(text for text in texts if text) or "the module failed without a message"


def _why_unreachable(error: Exception, host: str) -> str:
    text = _one_line(error)
    if "HOST IDENTIFICATION HAS CHANGED" in text:
        return (
            "its host key is not the one that is known: it was installed anew, or another machine answers in "
            f"its place. If you know why, ssh-keygen -R {host}, and log in once to accept the new key"
        )
    return text


def _one_line(error: Exception) -> str:
    lines: list[str] = [line.strip() for line in str(getattr(error, "message", error)).splitlines()]
    return " ".join(line for line in lines if line) or type(error).__name__
