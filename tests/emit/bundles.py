"""Compiles bundles for tests through the command line, as users do."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from compiler.cli.main import run
from compiler.resources import host_code

GOLDEN = Path(__file__).with_name("golden")
INPUT = GOLDEN / "input"


def tool(name: str) -> str:
    """Returns a command of this test environment."""
    return str(Path(sys.executable).with_name(name))


def compile_to(target: Path, source: Path = INPUT, inventory: Path | None = None) -> Path:
    """Compiles ``source``'s scenario for its inventory and returns the bundle."""
    code = run(
        [
            "compile",
            str(source / "scenario.toml"),
            "-i",
            str(inventory or source / "inventory"),
            "-o",
            str(target),
        ]
    )
    assert code == 0
    return target


def play(bundle: Path, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs ``ansible-playbook`` in a bundle as a user would."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    return subprocess.run(
        [tool("ansible-playbook"), *arguments],
        cwd=cwd or bundle,
        env={**environment, "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@contextmanager
def played(bundle: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Has another process mark a bundle as Ansible does that plays it, until its standard input ends."""
    plays = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from deepep_host.own_bundle import hold\n"
        "print(hold(Path(sys.argv[2])), flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", plays, str(host_code()), str(bundle)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as player:  # fmt: skip
        assert player.stdout is not None
        assert player.stdout.readline().strip().isdigit()
        yield player


def content(folder: Path) -> dict[str, bytes]:
    """Returns every file below ``folder``."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
