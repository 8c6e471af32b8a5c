"""Compiles bundles for tests through the command line, as users do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from compiler.cli.main import run

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


def content(folder: Path) -> dict[str, bytes]:
    """Returns every file below ``folder``."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
