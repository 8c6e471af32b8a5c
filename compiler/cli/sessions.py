"""What the commands on a session under way share: naming it, and playing a playbook of its bundle."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from compiler.cli import options, planning

if TYPE_CHECKING:
    from compiler.runner.ansible import Playbook
    from compiler.runner.session import Session


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the session, and what reaching its hosts may need beyond the bundle's inventory."""
    parser.add_argument(
        "results", metavar="RESULTS", help="a session's directory, or the folder that holds sessions"
    )
    options.add_inventory(parser, required=False)
    options.add_connection(parser)


def find(args: argparse.Namespace) -> Session | None:
    """Returns the session that was named (the newest of a folder); None, and the reason told, without one."""
    from compiler.runner.session import NotASessionError, open_session

    try:
        return open_session(Path(args.results))
    except NotASessionError as error:
        print(f"deepep-compiler: {error}", file=sys.stderr)
        return None


def playbook(args: argparse.Namespace, session: Session, name: str) -> Playbook | None:
    """Returns a playbook of the session's bundle; None, and the reason told, where the bundle is gone."""
    if not (session.bundle / name).is_file():
        print(
            f"deepep-compiler: {session.bundle / name} is gone: the session's hosts cannot be asked",
            file=sys.stderr,
        )
        return None
    return playbook_in(session.bundle, args, session, name)


def playbook_in(bundle: Path, args: argparse.Namespace, session: Session, name: str) -> Playbook:
    """Returns a playbook of a bundle for a session that is there.

    Its hosts are reached as when it began; what is given now comes after that, and so wins.
    """
    from compiler.runner.ansible import Playbook, pass_through

    before = session.reached_with
    inventories = [source for source in before.inventories if "," in source or Path(source).exists()]
    return Playbook(
        bundle=bundle.absolute(),
        name=name,
        inventories=(*inventories, *(planning.absolute(source) for source in args.inventory or ())),
        extra_vars=(*before.extra_vars, *args.extra_vars, f"deepep_results={session.directory}"),
        options=(*before.options, *pass_through(vars(args))),
    )


def forgotten(session: Session) -> str:
    """Returns a line on what the session began with that was not kept, "" where that is nothing."""
    names = ", ".join(session.reached_with.left_out)
    return f"\nthe session began with {names} too, which is not kept: give it again" if names else ""


def look(args: argparse.Namespace, session: Session) -> bool:
    """Brings the newest state and logs of what is under way here; tells why where that fails."""
    from compiler.runner.run import log_tail
    from compiler.runner.state import forget_answers

    book = playbook(args, session, "look.yml")
    if book is None:
        return False
    forget_answers(session.directory)
    if book.start(session.log).wait() == 0:
        return True
    print(
        f"{log_tail(session.directory)}\ndeepep-compiler: the hosts could not be asked{forgotten(session)}",
        file=sys.stderr,
    )
    return False
