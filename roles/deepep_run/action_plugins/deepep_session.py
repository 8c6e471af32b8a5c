"""Opens, finds and closes a session: one execution of a bundle. Works on the controller alone."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deepep_common" / "controller"))

import deepep_options
import deepep_secrets
from ansible import constants, context
from ansible.release import __version__ as ansible_version
from deepep_controller import DeepEPAction
from deepep_host import credentials, events, secret_scan
from deepep_host.files import read_json
from deepep_host.image import board as boards
from deepep_host.image import carrier
from deepep_host.judge import judge_session, render_table
from deepep_host.own_bundle import RESULTS, own_bundle, session_of
from deepep_host.pack import digest
from deepep_host.session import (
    Session,
    SessionError,
    find_session,
    newest_session,
    open_session,
    playing,
    resume_session,
)


class ActionModule(DeepEPAction):
    """``state``: ``opened`` makes a session or resumes one, ``found`` finds one, ``adopted`` one whose
    controller is gone, ``closed`` judges and ends it.
    """

    ARGUMENTS = frozenset({"state", "session", "bundle_dir", "results_root", "results", "resume"})

    def act(self) -> dict[str, Any]:
        return {
            "opened": self._open,
            "found": self._find,
            "adopted": self._adopt,
            "closed": self._close,
        }[self.argument("state")]()

    def _open(self) -> dict[str, Any]:
        bundle = Path(self.argument("bundle_dir")).resolve()
        self._check_bundle(bundle)
        if self.check_mode:
            return {"msg": "check mode: no session is opened, nothing will be started"}
        resume = self.argument("resume")
        if resume is not None:
            session = self._resume(bundle, str(resume))
            session.update(reached_with=deepep_options.given(context.CLIARGS, bundle))
            _remove_leftovers(session)
            return {**_fact(session), "holds": True, "changed": True, "msg": f"resumed {session.results_dir}"}
        session = open_session(
            bundle,
            Path(self.argument("results_root") or bundle / RESULTS).absolute(),
            socket.gethostname(),
            ansible_version,
            Path(self.argument("results")) if self.argument("results") else None,
        )
        session.update(reached_with=deepep_options.given(context.CLIARGS, bundle))
        _remove_leftovers(session)
        return {
            **_fact(session),
            "holds": True,
            "changed": True,
            "msg": f"results go to {session.results_dir}",
        }

    def _resume(self, bundle: Path, which: str) -> Session:
        if which not in ("missing", "all"):
            raise SessionError(f"deepep_resume is {which}: write missing (runs without a PASS) or all")
        if not self.argument("results"):
            raise SessionError("deepep_resume needs the session: -e deepep_results=DIRECTORY")
        folder = Path(self.argument("results"))
        return resume_session(bundle, folder, socket.gethostname(), ansible_version, which == "all")

    def _find(self) -> dict[str, Any]:
        bundle = Path(self.argument("bundle_dir")).resolve()
        folder = self.argument("results") or session_of(bundle)
        root = Path(self.argument("results_root") or bundle / RESULTS)
        session = find_session(Path(folder)) if folder else newest_session(root)
        _refuse_other_hosts(bundle, session)
        return {**_fact(session), "msg": f"session {session.run_id} in {session.results_dir}"}

    def _adopt(self) -> dict[str, Any]:
        found = self._find()
        session = Session(**found["ansible_facts"]["deepep_session"])
        other = playing(session.folder)
        if other:
            raise SessionError(
                f"{session.folder} is still being played by {other}: there is nothing to adopt"
            )
        session.lose()
        runs = [run["id"] for run in session.plan()["runs"] if session.unsettled(run)]
        for key in runs:
            # Hosts that were out of reach may have gone on; nobody shall be stopped because of them now.
            session.forget_lost(key)
        return {**found, "holds": True, "msg": f"to take up: {', '.join(runs) or 'nothing'}"}

    def _close(self) -> dict[str, Any]:
        if self.check_mode:
            return self._close_check()
        session = self.session()
        # Everything that still changes comes before the judgement, whose manifest covers all files.
        stopped = session.stop_request()
        _remove_leftovers(session)
        leaked = self._search_secrets(session)
        session.end("interrupted" if stopped else "finished")
        events.append(session.results_dir, "session", status="closed", run_id=session.run_id)
        summary = judge_session(session.results_dir)
        self._display.display(f"\n{render_table(summary)}\nresults: {session.results_dir}\n")
        counts = ", ".join(f"{count} {verdict}" for verdict, count in summary["counts"].items() if count)
        text = f"{counts or 'no runs'}; see {session.results_dir}"
        if leaked:
            self._display.error(leaked)
            text = f"{leaked}; {text}"
        return {"passed": bool(summary["passed"]) and not leaked, "leaked": bool(leaked), "msg": text}

    def _search_secrets(self, session: Session) -> str:
        """Removes this session's registry secrets from the tree; returns what was found, mostly nothing."""
        secrets: dict[str, list[tuple[str, str]]] = {}
        lacking = []
        for registry, host in secret_scan.uses(session.folder):
            try:
                found = deepep_secrets.login(registry, self._templar, self._vars["hostvars"][host])
            except deepep_secrets.CredentialsError as error:
                lacking.append(str(error))
                continue
            if found.known:
                # The repository says which entry counts; what is found is told of the registry.
                secrets.setdefault(registry.partition("/")[0], []).append((found.user, found.secret))
            else:
                lacking.append(f"the credentials of {registry} are not given to this playbook")
        if not secrets and not lacking:
            return ""
        done = secret_scan.scan(session.folder, secrets)
        done["not_searched"] += lacking
        session.update(secret_scan=done)
        events.append(session.results_dir, "secret_scan", **done)
        for reason in done["not_searched"]:
            self._display.warning(f"not searched for secrets: {reason}")
        return "; ".join(
            f"a secret of {hit['registry']} was in {hit['file']} and was removed there: revoke it"
            for hit in done["hits"]
        )

    def _close_check(self) -> dict[str, Any]:
        problems = []
        for host in sorted(self._vars["groups"]["all"]):
            found = self._vars["hostvars"][host].get("__deepep_preflight_result") or {}
            problems += [
                f"{host}: {entry['text']}" for entry in found.get("checks") or () if entry["result"] == "fail"
            ]
        text = "check mode: hosts were probed, nothing was staged or started, and there is no verdict"
        self._display.display("\n".join([text, *problems]))
        return {"passed": not problems, "msg": "; ".join([text, *problems])}

    def _check_bundle(self, bundle: Path) -> None:
        """Refuses whatever would let a run end well without having run as compiled. Raises SessionError."""
        plan = read_json(bundle / "plan.json")
        if plan is None:
            raise SessionError(f"{bundle}/plan.json is missing or damaged: compile the bundle again")
        wanted = bundle / "ansible.cfg"
        active = constants.CONFIG_FILE
        if wanted.exists() and Path(active or ".").resolve() != wanted:
            raise SessionError(
                f"the active Ansible configuration is {active or 'none'}, not the bundle's: run "
                f"ansible-playbook in {bundle}, with ANSIBLE_CONFIG unset (Ansible ignores the file in a "
                "directory that everybody may write to)"
            )
        for option, name in (
            ("subset", "--limit"),
            ("skip_tags", "--skip-tags"),
            ("start_at_task", "--start-at-task"),
        ):
            if context.CLIARGS.get(option):
                raise SessionError(
                    f"{name} would leave out parts of the plan: compile a smaller scenario instead"
                )
        if tuple(context.CLIARGS.get("tags") or ("all",)) != ("all",):
            raise SessionError("--tags would leave out parts of the plan: run without it")
        missing = sorted(_asked(plan) - set(self._vars["groups"]["all"]) - {"localhost"})
        if missing:
            raise SessionError(
                f"the inventory lacks hosts of the plan: {', '.join(missing)}; use the bundle's inventory"
            )
        damaged = _damaged(bundle)
        if damaged:
            raise SessionError(
                f"the bundle was changed after it was compiled: {', '.join(damaged[:5])}; compile it again"
            )


def _remove_leftovers(session: Session) -> None:
    """Removes what killed playbooks left on the controller: this session's files of images and what its hosts
    shared for transfers, and credentials in memory of all processes that are gone.
    """
    for run_id in session.run_ids():
        carrier.sweep(boards.folder(session.folder, run_id))
        deepep_secrets.forget_transfer(session._replace(run_id=run_id))
    credentials.remove()


def _asked(plan: dict[str, Any]) -> set[str]:
    """Returns the hosts that Ansible talks to: with Slurm the login host alone."""
    return {plan["slurm"]["login"]} if plan.get("slurm") else set(plan["hosts"])


def _refuse_other_hosts(bundle: Path, session: Session) -> None:
    """Refuses a bundle that asks not all hosts of a session: what is not asked would count as stopped.

    Its folder may have been compiled anew since the session began. Raises SessionError.
    """
    plan = read_json(bundle / "plan.json")
    if plan is None:
        raise SessionError(f"{bundle}/plan.json is missing or damaged: compile the bundle again")
    missing = sorted(_asked(session.plan()) - _asked(plan))
    if not missing:
        return
    shown = ", ".join(missing[:5]) + (" ..." if len(missing) > 5 else "")
    own = own_bundle(session.folder)
    way_out = (
        f"play the session's own bundle: cd {own} and ansible-playbook there, or deepep-compiler "
        f"stop|status|collect {session.folder}"
        if own.is_dir()
        else "compile the scenario as it was when the session began, and play that"
    )
    raise SessionError(
        f"{bundle} is not the bundle that the session {session.folder} began with: it does not ask {shown}; "
        f"{way_out}"
    )


def _damaged(bundle: Path) -> list[str]:
    """Returns the files whose content is not what the bundle's manifest says."""
    manifest = read_json(bundle / "manifest.json") or {}
    files = manifest.get("files")
    pairs = files.items() if isinstance(files, dict) else ()
    return sorted(name for name, expected in pairs if digest(bundle / name) != _sha256(expected))


def _sha256(entry: Any) -> str:
    return str(entry.get("sha256")) if isinstance(entry, dict) else str(entry).replace("sha256:", "")


def _fact(session: Session) -> dict[str, Any]:
    return {"ansible_facts": {"deepep_session": dict(session._asdict())}}
