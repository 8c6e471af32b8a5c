"""What can only be checked once hosts, ranks and program of a run are known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from compiler.diagnostics.codes import finding
from compiler.diagnostics.model import Diagnostic
from compiler.inventory.listing import is_safe_name
from compiler.inventory.model import Inventory, Settings
from compiler.plan import command
from compiler.plan.hosts import CommonSettings
from compiler.rules import images
from compiler.rules.environment import LAUNCHER_SETS
from compiler.scenario.model import Case, Entry

_SHOWN = 4


class RunChecks:
    """Checks runs; a finding that many runs share is told once."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self._told: set[object] = set()

    def of_run(self, entry: Entry, case: Case, settings: Settings) -> Iterator[Diagnostic]:
        """Yields what is wrong with one run."""
        if not self._first(entry.id, settings):
            return
        yield from self._environment(settings)
        if self._first("registries", settings):
            yield from images.registries(settings.registries)
        yield from self._program(entry, settings)
        yield from self._container(entry, case, settings)

    def of_hosts(self, used: Iterable[str]) -> Iterator[Diagnostic]:
        """Yields what is wrong with the hosts that some run uses."""
        names = list(used)
        unsafe = [name for name in names if not is_safe_name(name)]
        if unsafe:
            yield finding("unsafe-host-name", f"{_names(unsafe)}: not usable as a file name", None)
        settings = {name: self._inventory.hosts[name].settings for name in names}
        without = [
            name for name, own in settings.items() if own.container_runtime == "none" and own.python is None
        ]
        if without:
            yield finding(
                "missing-inventory-setting",
                f"{_names(without)}: deepep_python is not set, and deepep_container_runtime is none",
                None,
                why="Without a container the benchmark needs an interpreter on the host that has torch.",
                fix="set deepep_python to that interpreter's absolute path",
            )
        imageless = [
            name
            for name, own in settings.items()
            if (own.program, own.container_runtime) == ("image", "none")
        ]
        if imageless:
            yield finding(
                "settings-contradict",
                f"{_names(imageless)}: deepep_program is image, and deepep_container_runtime is none",
                None,
                fix="choose docker, podman or enroot, or deepep_program: bundled",
            )

    def of_launchers(self, common: CommonSettings) -> Iterator[Diagnostic]:
        """Yields an error where a scenario would need two launchers."""
        if len(common.launchers) > 1:
            yield finding(
                "settings-disagree",
                f"the scenario's hosts have different launchers: {', '.join(common.launchers)}",
                list(common.launchers.values())[1],
                why="A scenario is started in one way.",
            )

    def _first(self, *what: object) -> bool:
        key = tuple(item if isinstance(item, str | int) else id(item) for item in what)
        if key in self._told:
            return False
        self._told.add(key)
        return True

    def _environment(self, settings: Settings) -> Iterator[Diagnostic]:
        for name in settings.env:
            if name in LAUNCHER_SETS and self._first("environment", name):
                yield finding(
                    "env-overridden",
                    f"deepep_env: {name} is set by the launcher; this value has no effect",
                    None,
                )

    def _program(self, entry: Entry, settings: Settings) -> Iterator[Diagnostic]:
        if settings.program == "bundled":
            for key, fix in command.unknown_options(entry.extra_cmd_args):
                yield finding(
                    "unknown-extra-cmd-arg",
                    f"the bundled program has no option {key!r}",
                    replace(entry.origin.place("extra_cmd_args", key), on_key=True),
                    fix=fix,
                )

    def _container(self, entry: Entry, case: Case, settings: Settings) -> Iterator[Diagnostic]:
        image = case.arguments.docker_image_url
        if settings.container_runtime == "none":
            if entry.extra_container_mounts:
                yield finding(
                    "mounts-without-container",
                    f"extra_container_mounts of {entry.id} have no effect: deepep_container_runtime is none",
                    entry.origin.place("extra_container_mounts"),
                )
            if image is not None and self._first("image unused", image):
                yield finding(
                    "image-without-container",
                    f"{image} is not used: deepep_container_runtime is none",
                    entry.origin.argument(case, "docker_image_url"),
                )
        elif image is None:
            yield finding(
                "missing-image",
                f"{entry.id} has no image, and deepep_container_runtime is {settings.container_runtime}",
                entry.origin.place("cmd_args"),
                fix='add docker_image_url = "registry#organisation/image:tag" to cmd_args, '
                "or set deepep_container_runtime: none",
            )


def _names(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"host{'' if len(names) == 1 else 's'} {', '.join(names[:_SHOWN])}{more}"
