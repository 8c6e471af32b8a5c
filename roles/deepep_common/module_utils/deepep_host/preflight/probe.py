"""How checks look at a host: files, directories, commands. The same questions can be put to a recording.

Nothing here is written or started for good; a command that does not answer in time counts as silent and is
left behind, since a process that waits for a sick driver cannot even be killed.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from ..rendezvous import RendezvousError, addresses, interface_address, is_local

TIMEOUT_S = 15.0
_LARGEST = 4 * 1024 * 1024
_C_LOCALE = {"LC_ALL": "C", "LANG": "C"}


class Said(NamedTuple):
    """What a command said. ``code`` is None where it does not exist or did not answer: see ``error``."""

    code: int | None
    out: str
    error: str

    @property
    def missing(self) -> bool:
        """Whether there is no such command."""
        return self.code is None and self.error == "not installed"


class Probe:
    """This host. Commands are run once and remembered."""

    def __init__(self) -> None:
        self._said: dict[tuple[str, ...], Said] = {}

    def ask(self, *argv: str) -> Said:
        """Returns what a command says; never raises."""
        if argv not in self._said:
            self._said[argv] = self._run(argv)
        return self._said[argv]

    def ask_all(self, commands: Iterable[Sequence[str]]) -> None:
        """Runs commands at the same time, so that later :meth:`ask` answers at once."""
        wanted = [tuple(argv) for argv in commands if tuple(argv) not in self._said]
        if wanted:
            with ThreadPoolExecutor(len(wanted)) as pool:
                for argv, said in zip(wanted, pool.map(self._run, wanted)):
                    self._said[argv] = said

    def read(self, path: str) -> str | None:
        """Returns a file's text without surrounding space, None where it cannot be read."""
        try:
            with self._path(path).open("rb") as file:
                return file.read(_LARGEST).decode("utf-8", "replace").strip()
        except OSError:
            return None

    def names(self, path: str) -> list[str]:
        """Returns what a directory holds, sorted; nothing where there is none."""
        try:
            return sorted(entry.name for entry in self._path(path).iterdir())
        except OSError:
            return []

    def exists(self, path: str) -> bool:
        """Whether there is anything at ``path``."""
        return self._path(path).exists()

    def usable(self, path: str) -> bool:
        """Whether a device may be read and written."""
        return os.access(self._path(path), os.R_OK | os.W_OK)

    def free_mib(self, path: str) -> int | None:
        """Returns the free space at ``path`` or at the nearest directory above it, in MiB."""
        try:
            return shutil.disk_usage(self._nearest(path)).free // (1024 * 1024)
        except OSError:
            return None

    def writable(self, path: str) -> bool:
        """Whether ``path``, or the nearest directory above it, may be written."""
        return os.access(self._nearest(path), os.W_OK | os.X_OK)

    def address(self, interface: str) -> str | None:
        """Returns the IPv4 address of a network interface."""
        try:
            return interface_address(interface)
        except RendezvousError:
            return None

    def has_address(self, address: str) -> bool:
        """Whether an IPv4 address is one of this host's."""
        return is_local(address)

    def addresses(self) -> list[str]:
        """Returns the IPv4 addresses of the interfaces, in words."""
        return addresses()

    def now(self) -> float:
        """Returns this host's time, seconds since 1970."""
        return time.time()

    def hostname(self) -> str:
        """Returns this host's own name."""
        return socket.gethostname()

    def _path(self, path: str) -> Path:
        return Path(path)

    def _nearest(self, path: str) -> Path:
        found = self._path(path)
        while not found.is_dir() and found != found.parent:
            found = found.parent
        return found

    def _run(self, argv: Sequence[str]) -> Said:
        if shutil.which(argv[0]) is None:
            return Said(None, "", "not installed")
        try:
            process = subprocess.Popen(  # noqa: S603 - fixed commands
                list(argv), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                env={**os.environ, **_C_LOCALE}, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            return Said(None, "", str(error.strerror))
        try:
            out, error_text = process.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return Said(None, "", f"no answer within {TIMEOUT_S:.0f} s")
        return Said(process.returncode, out.decode("utf-8", "replace"), error_text.decode("utf-8", "replace"))


class Recorded(Probe):
    """A recording of a host: ``commands/`` holds what commands said, ``root/`` its files.

    ``commands/<name>.out``, with ``.err`` and ``.code`` where these are not empty and 0; a command without
    one is not installed. ``facts`` holds ``free_mib``, ``now``, ``hostname`` and ``address NAME`` lines.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        lines = (self._text(folder / "facts") or "").splitlines()
        self._facts = dict(line.rsplit(" ", 1) for line in lines if " " in line)

    def usable(self, path: str) -> bool:
        return self.exists(path)

    def free_mib(self, path: str) -> int | None:
        return int(self._facts.get("free_mib", 10**6))

    def writable(self, path: str) -> bool:
        return True

    def address(self, interface: str) -> str | None:
        return self._facts.get(f"address {interface}")

    def has_address(self, address: str) -> bool:
        return address in self._addresses().values()

    def addresses(self) -> list[str]:
        return [f"{address} ({name})" for name, address in self._addresses().items()]

    def _addresses(self) -> dict[str, str]:
        known = ((*key.partition(" "), text) for key, text in self._facts.items())
        return {name: text for word, _, name, text in known if word == "address"}

    def now(self) -> float:
        return float(self._facts.get("now", 1_700_000_000))

    def hostname(self) -> str:
        return self._facts.get("hostname", "recorded")

    def _path(self, path: str) -> Path:
        return self._folder / "root" / path.lstrip("/")

    def _run(self, argv: Sequence[str]) -> Said:
        base = self._folder / "commands" / command_name(argv)
        out = self._text(base.with_name(base.name + ".out"))
        if out is None:
            return Said(None, "", "not installed")
        code = self._text(base.with_name(base.name + ".code"))
        error = self._text(base.with_name(base.name + ".err")) or ""
        if code == "none":
            return Said(None, out, error.strip())
        return Said(int(code or 0), out, error)

    @staticmethod
    def _text(path: Path) -> str | None:
        try:
            return path.read_text(encoding="utf-8")
        except OSError:
            return None


class Recorder(Probe):
    """Looks at this host and keeps all that it sees in ``folder``, as :class:`Recorded` reads it."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._fact("now", f"{super().now():.0f}")
        self._fact("hostname", super().hostname())

    def read(self, path: str) -> str | None:
        text = super().read(path)
        if text is not None:
            target = self._folder / "root" / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text + "\n", encoding="utf-8")
        return text

    def names(self, path: str) -> list[str]:
        found = super().names(path)
        for name in found:
            target = self._folder / "root" / path.lstrip("/") / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if Path(path, name).is_dir():
                target.mkdir(exist_ok=True)
            elif not target.exists():
                target.touch()
        return found

    def exists(self, path: str) -> bool:
        if super().exists(path):
            self.names(str(Path(path).parent))
            return True
        return False

    def free_mib(self, path: str) -> int | None:
        free = super().free_mib(path)
        self._fact("free_mib", str(free))
        return free

    def address(self, interface: str) -> str | None:
        found = super().address(interface)
        if found:
            self._fact(f"address {interface}", found)
        return found

    def _fact(self, name: str, value: str) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "facts").open("a", encoding="utf-8") as file:
            file.write(f"{name} {value}\n")

    def _run(self, argv: Sequence[str]) -> Said:
        said = super()._run(argv)
        if not said.missing:
            base = self._folder / "commands" / command_name(argv)
            base.parent.mkdir(parents=True, exist_ok=True)
            base.with_name(base.name + ".out").write_text(said.out, encoding="utf-8")
            if said.error:
                base.with_name(base.name + ".err").write_text(said.error, encoding="utf-8")
            if said.code != 0:
                code = "none" if said.code is None else str(said.code)
                base.with_name(base.name + ".code").write_text(code, encoding="utf-8")
        return said


def command_name(argv: Sequence[str]) -> str:
    """Returns the file name under which a command's output is recorded."""
    return re.sub(r"[^A-Za-z0-9.,=-]+", "_", " ".join(argv)).strip("_")[:80]
