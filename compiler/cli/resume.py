"""``run --resume``: repeats what has no PASS, keeps the rest, finds what a lost controller left."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from compiler.cli import exit_codes, planning, select, sessions

if TYPE_CHECKING:
    from compiler.inventory.model import Inventory
    from compiler.plan.model import Plan
    from compiler.runner.resume import Standing
    from compiler.runner.session import Session


def resume(args: argparse.Namespace) -> int:
    """Returns what ``run`` returns for the whole session, 1 where it cannot be gone on with."""
    from compiler.runner.resume import CannotResumeError
    from compiler.runner.session import NotASessionError, open_session

    try:
        return _resume(args, open_session(Path(args.resume)))
    except (NotASessionError, CannotResumeError) as error:
        return _refuse(str(error))


def _resume(args: argparse.Namespace, session: Session) -> int:
    from compiler.cli.run import finish, play_and_halt
    from compiler.emit.bundle import BundleInUseError, emit_bundle
    from compiler.plan.selection import part
    from compiler.resources import host_code
    from compiler.runner.ansible import AnsibleMissingError
    from compiler.runner.resume import emit_once_free, standing, wait_until_free

    host_code()
    from deepep_host.own_bundle import link_additions, own_bundle, part_bundle

    found = _plan(args, session)
    if found is None:
        return exit_codes.INPUT_ERROR
    plan, source = found
    try:
        wait_until_free(session.directory, _tell)
    except KeyboardInterrupt:
        return exit_codes.INTERRUPTED
    whole, bundle = own_bundle(session.directory), part_bundle(session.directory)
    try:
        if source != whole:
            emit_once_free(plan, source, whole, _tell)
            link_additions(session.bundle, whole)
        now = standing(session.directory)
        # A controller may also be lost after its last run: then the session is only to be closed, which
        # repeating something does by itself.
        if now.unsettled or (now.ended_at is None and now.passed >= {run.id for run in plan.runs}):
            code = _adopt(args, session, whole, now)
            if code is None:
                return exit_codes.INTERRUPTED
            if code:
                code = finish(session.directory, code, interrupted=False)
                _tell("nothing was repeated, because of the secret: once it is revoked, call --resume again")
                return code
            now = standing(session.directory)
        wanted = _wanted(args, plan, now)
        if wanted is None:
            return exit_codes.INPUT_ERROR
        if not wanted:
            _tell("every run has a PASS: nothing to repeat")
            return finish(session.directory, 0, interrupted=False)
        chosen = part(plan, wanted)
        if plan.slurm and plan.slurm.one_job and isinstance(source, Path) and chosen.runs != plan.runs:
            return _refuse(
                "with deepep_slurm_one_job the script for fewer runs is made from the scenario: name it and "
                "the inventory again, run SCENARIO -i INVENTORY --resume RESULTS"
            )
        emit_bundle(chosen, source, bundle)
        link_additions(whole, bundle)
        kept = len(plan.runs) - len(chosen.runs)
        _tell(f"{len(chosen.runs)} of {len(plan.runs)} runs are repeated, {kept} kept: {session.directory}")
        book = sessions.playbook_in(bundle, args, session, "site.yml")
        book = replace(book, extra_vars=(*book.extra_vars, "deepep_resume=all"))
        return play_and_halt(args, book, session.directory, chosen)
    except BundleInUseError as busy:
        # By another --resume, which repeats the same runs.
        return _refuse(f"{busy}: wait for its end")
    except AnsibleMissingError as missing:
        return _refuse(str(missing))


def _plan(args: argparse.Namespace, session: Session) -> tuple[Plan, Inventory | Path] | None:
    """Returns the session's plan, and where the inventory comes from: a bundle where none is given.

    None, and the reason told, where the scenario has errors. Raises CannotResumeError.
    """
    from compiler.runner.resume import plan_of_bundle, refuse_changes

    if args.scenario is None:
        return plan_of_bundle(session.directory, session.bundle), session.bundle
    from compiler.plan.support import not_executable

    planned = planning.plan_of(args)
    if planned.plan is None or planned.inventory is None:
        planning.show(planned.findings)
        return None
    refused = not_executable(planned.plan)
    planning.show((*planned.findings, *refused))
    if refused:
        return None
    refuse_changes(session.directory, planned.plan)
    return planned.plan, planned.inventory


def _adopt(args: argparse.Namespace, session: Session, bundle: Path, now: Standing) -> int | None:
    """Waits for what still runs, fetches and judges it, closes the session; returns the playbook's exit code.

    None where the user does not want to wait. More than 0 only where the session was closed and a secret was
    found in its results. Raises CannotResumeError where the playbook failed otherwise, be it on one host:
    what nobody looked at may still run.
    """
    from compiler.runner.resume import CannotResumeError, standing
    from compiler.runner.run import log_tail, play
    from compiler.runner.state import forget_answers, problems

    shown = ", ".join(now.unsettled[:5]) + (" ..." if len(now.unsettled) > 5 else "")
    shown = shown or "a session that nobody has closed"
    _tell(f"looking on the hosts for what is left of {shown} (Ctrl-C leaves it running)")
    book = sessions.playbook_in(bundle, args, session, "adopt.yml")
    forget_answers(session.directory)
    outcome = play(book, session.directory, {}, verbose=bool(args.verbose))
    if outcome.interrupted:
        _tell("interrupted: what runs on the hosts goes on; --resume finds it again, stop ends it")
        return None
    then = standing(session.directory)
    # Closed too where some hosts failed; what was found in the results at an earlier end was told then.
    if outcome.code and not (then.leaked and then.ended_at != now.ended_at):
        known = [f"  {host}: {text}" for host, text in problems(session.directory).items()]
        lines = known or [f"adopt.yml ended with {outcome.code}:", log_tail(session.directory)]
        raise CannotResumeError(
            "\n".join(["what is left on the hosts could not be taken up, so nothing is repeated:", *lines])
            + sessions.forgotten(session)
        )
    return outcome.code


def _wanted(args: argparse.Namespace, plan: Plan, now: Standing) -> frozenset[str] | None:
    """Returns the runs to repeat; None, and the reason told, where they cannot be."""
    chosen = frozenset(run.id for run in plan.runs) - now.passed
    if args.only:
        return select.only(args, plan, now.completed)
    return select.with_others(plan, chosen, now.completed)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _refuse(text: str) -> int:
    print(f"deepep-compiler: {text}", file=sys.stderr)
    return exit_codes.INPUT_ERROR
