"""Settings of a project: ``deepep-compiler.toml``, or ``[tool.deepep-compiler]`` of a ``pyproject.toml``.

The settings of a file are the nearest ones above it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from compiler.diagnostics.codes import finding
from compiler.diagnostics.model import Diagnostic, KeyPath, Place
from compiler.diagnostics.switches import Switches, unknown_code
from compiler.diagnostics.wording import value_text
from compiler.document.paths import is_folder
from compiler.rules.assumptions import Assumptions

FILE = "deepep-compiler.toml"
PYPROJECT = "pyproject.toml"
TOOL = "deepep-compiler"
TABLE: KeyPath = ("tool", TOOL)


@dataclass(frozen=True, slots=True)
class Settings:
    """What a project file, or the command line over it, says; without either, the defaults."""

    switches: Switches = field(default_factory=Switches)
    assume: Assumptions = field(default_factory=Assumptions)
    strict: bool = False

    def over(self, project: Settings) -> Settings:
        """Returns these settings of the command line laid over a project's.

        What is ignored adds up; everything else that the command line gives takes the project's place.
        """
        return Settings(
            Switches(
                self.switches.select or project.switches.select,
                (*project.switches.ignore, *self.switches.ignore),
            ),
            Assumptions(
                self.assume.backend or project.assume.backend,
                self.assume.deepep_version or project.assume.deepep_version,
                self.assume.ranks_per_host or project.assume.ranks_per_host,
            ),
            self.strict or project.strict,
        )


class Projects:
    """Finds and reads the settings of files; each project file is read once."""

    def __init__(self, command_line: Settings) -> None:
        """Takes what the command line says."""
        self._command_line = command_line
        self._of_file: dict[Path, Settings] = {}
        self._of_folder: dict[Path, Settings] = {}
        self.findings: list[Diagnostic] = []
        """What is wrong with the project files read so far."""

    def of(self, file: Path | None) -> Settings:
        """Returns the settings of a file or folder; of nothing, those of the command line."""
        if file is None:
            return self._command_line
        found = self._of_file.get(file)
        if found is None:
            found = self._of_file[file] = self._found(file)
        return found

    def _found(self, file: Path) -> Settings:
        parent = file.parent
        if parent in self._of_file and not is_folder(file):
            return self._of_file[parent]
        folder = file if is_folder(file) else parent
        try:
            found = self._of(folder.resolve())
        except (OSError, RuntimeError, ValueError):  # a loop of links, a name that cannot be
            return self._command_line
        self._of_file[folder] = found
        return found

    def _of(self, folder: Path) -> Settings:
        missing = []
        for parent in (folder, *folder.parents):
            if parent in self._of_folder:
                found = self._of_folder[parent]
                break
            missing.append(parent)
            project = self._read(parent)
            if project is not None:
                found = self._command_line.over(project)
                break
        else:
            found = self._command_line
        for parent in missing:
            self._of_folder[parent] = found
        return found

    def _read(self, folder: Path) -> Settings | None:
        places: tuple[tuple[str, KeyPath], ...] = ((FILE, ()), (PYPROJECT, TABLE))
        for name, table in places:
            path = folder / name
            try:
                if not path.is_file() or (table and TOOL.encode() not in path.read_bytes()):
                    continue
            except OSError:
                continue
            found = self._settings(path, table)
            if found is not None:
                return found
        return None

    def _settings(self, path: Path, table: KeyPath) -> Settings | None:
        from compiler.document.read import read_document
        from compiler.schema.validate import validate

        document = read_document(path)
        if isinstance(document, Diagnostic):
            self.findings.append(document)
            return Settings()
        value: object = document.data
        for key in table:
            value = cast("Mapping[str, object]", value).get(cast("str", key))
            if not isinstance(value, dict):
                return None
        problems = validate(path, value, "settings", at=table)
        self.findings += problems
        return Settings() if problems else self._typed(path, table, cast("Mapping[str, object]", value))

    def _typed(self, path: Path, table: KeyPath, data: Mapping[str, object]) -> Settings:
        lists = {key: tuple(cast("list[str]", data.get(key, []))) for key in ("select", "ignore")}
        for key, names in lists.items():
            for number, name in enumerate(names):
                hint = unknown_code(name)
                if hint is not None:
                    text = f"{key}: there is no code {value_text(name)}"
                    place = Place(path, (*table, key, number))
                    self.findings.append(finding("unknown-code", text, place, fix=hint))
        return Settings(
            Switches(lists["select"], lists["ignore"]),
            Assumptions(
                cast("str | None", data.get("assume-backend")),
                cast("str | None", data.get("assume-deepep-version")),
                cast("int | None", data.get("assume-ranks-per-host")),
            ),
            bool(data.get("strict", False)),
        )
