"""Scenario + Inventory -> Plan: every run with everything that is needed to carry it out and to judge it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace

from compiler import __version__
from compiler.diagnostics.codes import finding, prevents
from compiler.diagnostics.model import Diagnostic
from compiler.inventory.model import Host, Inventory, Settings
from compiler.inventory.nodes import Choice
from compiler.plan import command, hooks, nsys, slurm
from compiler.plan.checks import RunChecks
from compiler.plan.config import config
from compiler.plan.environment import environment
from compiler.plan.hooks import with_hooks
from compiler.plan.hosts import CommonSettings, Point, choose_all
from compiler.plan.model import (
    After,
    Container,
    Expect,
    ImageSource,
    Plan,
    PlannedHost,
    Run,
    Scalar,
    Text,
)
from compiler.plan.schedule import schedule
from compiler.plan.selftest import PREFIX, WHY, SelfTests
from compiler.rules import images
from compiler.rules.assumptions import NOTHING, Assumptions
from compiler.rules.runs import Point as RunPoint
from compiler.rules.runs import RunRules
from compiler.scenario.model import Arguments, Case, DependencyType, Entry, Scenario

DEFAULT_TIME_LIMIT_S = 3600
"""Where the scenario gives none: a hang must end some day."""

OPERATIONS = ("dispatch", "combine")
_ARGUMENTS = tuple(field.name for field in fields(Arguments))
FILES = ("results.json", "token_matrix.txt", "token_matrix_kb.txt")


def build_plan(
    scenario: Scenario, inventory: Inventory, assume: Assumptions = NOTHING, *, selftest: bool = False
) -> tuple[Plan | None, list[Diagnostic]]:
    """Returns the plan, or None with all errors that nobody may ignore; other findings come with either.

    The plan is complete also for what cannot be executed yet (:mod:`compiler.plan.support`). ``assume``
    changes the kernels' rules only, never the plan. With ``selftest`` every host is tried alone first.
    """
    builder = _Builder(scenario, inventory, assume, selftest=selftest)
    plan = builder.build()
    failed = any(prevents(found) for found in builder.findings)
    return (None if failed else plan), builder.findings


class _Builder:
    """Collects findings on the way, so that all errors are told in one go."""

    def __init__(
        self, scenario: Scenario, inventory: Inventory, assume: Assumptions, *, selftest: bool
    ) -> None:
        self._scenario = scenario
        inventory = slurm.compute_hosts(inventory)
        self._inventory = inventory
        self._assume = assume
        self._rules = RunRules(assume)
        self._common = CommonSettings(inventory)
        self._checks = RunChecks(inventory)
        self._parts = _Parts()
        self._selftests = SelfTests(inventory, assume) if selftest else None
        self._around: dict[str, hooks.Around] = {}
        self._told: set[tuple[str, str, str]] = set()
        self.findings: list[Diagnostic] = []

    def build(self) -> Plan | None:
        """Returns the plan as far as it can be built; None where that is not at all."""
        entries = self._scenario.entries
        ids = {
            entry.id: [_run_id(entry, iteration, case) for iteration, case in _points(entry)]
            for entry in entries
        }
        order, problems = schedule(entries, ids)
        self.findings += problems
        hosts, problems = choose_all(self._inventory, entries, order.concurrent if order else {})
        self.findings += problems
        runs = {run.id: run for entry in entries for run in self._runs(entry, hosts, ids)}
        self.findings += self._checks.of_hosts(
            dict.fromkeys(name for run in runs.values() for name in run.hosts)
        )
        self.findings += self._checks.of_launchers(self._common)
        self.findings += slurm.check(self._inventory, runs.values(), entries)
        if order is None or not runs:
            return None
        used = {name for run in runs.values() for name in run.hosts}
        alone = {run.hosts[0]: run for run in self._alone()}
        steps = tuple(with_hooks(order.steps, self._around))
        return Plan(
            compiler_version=__version__,
            scenario=self._scenario.name,
            description=None,
            launcher=next(iter(self._common.launchers)),
            hosts={name: _planned(host) for name, host in self._inventory.hosts.items() if name in used},
            runs=(
                *alone.values(),
                *(runs[run] for run in dict.fromkeys(step.run for step in steps) if run in runs),
            ),
            steps=steps,
            warnings=(),
            reports=self._scenario.reports,
            slurm=slurm.of_plan(self._inventory, runs.values()),
            selftest={host: run.id for host, run in alone.items()},
        )

    def _alone(self) -> Iterator[Run]:
        """Yields the self-tests, where they are wanted."""
        if self._selftests is None:
            return
        for test in self._selftests.choose():
            entry = replace(
                test.entry,
                id=f"{PREFIX}{test.host}",
                description=f"{test.entry.id} on {test.host} alone",
                cases=(test.case,),
            )
            settings = self._inventory.hosts[test.host].settings
            yield self._run(entry, 0, test.case, Choice((test.host,), WHY), settings, ())
        self.findings += self._selftests.findings

    def _runs(
        self, entry: Entry, hosts: Mapping[Point, Choice], ids: Mapping[str, Sequence[str]]
    ) -> Iterator[Run]:
        after = _after(entry, ids)
        checked: list[RunPoint] = []
        for iteration, case in _points(entry):
            choice = hosts.get((entry.id, case.step))
            if choice is None:
                continue
            settings, problems = self._common.of(choice.hosts, entry)
            self.findings += problems
            if settings is None:
                continue
            self.findings += self._checks.of_run(entry, case, settings)
            if iteration == 0 and self._selftests is not None:
                self._selftests.offer(entry, case, choice.hosts)
            if iteration == 0:
                checked.append(self._point(case, choice, settings))
            yield from self._with_hooks(self._run(entry, iteration, case, choice, settings, after), choice)
        self.findings += self._rules.of_entry(entry, checked)

    def _with_hooks(self, run: Run, choice: Choice) -> Iterator[Run]:
        """Yields a run with those of its hooks before and after it."""
        if not (self._scenario.pre_test or self._scenario.post_test):
            yield run
            return
        before = list(self._hooks(hooks.PRE, self._scenario.pre_test, run, choice))
        after = list(self._hooks(hooks.POST, self._scenario.post_test, run, choice))
        self._around[run.id] = hooks.Around(
            tuple(hook.id for hook in before), tuple(hook.id for hook in after)
        )
        needs = tuple(After(hooks.PRE, hook.id) for hook in before)
        yield from before
        yield replace(run, after=(*run.after, *needs)) if needs else run
        for hook in after:
            yield replace(hook, after=(After(hooks.POST, run.id),))

    def _hooks(self, kind: str, hook: Sequence[Entry], run: Run, choice: Choice) -> Iterator[Run]:
        for name, entry in hooks.named(hook):
            case = entry.cases[0]
            number = case.num_nodes or 1
            first = (kind, entry.id, run.entry) not in self._told
            self._told.add((kind, entry.id, run.entry))
            if number > len(run.hosts):
                if first:
                    text = f"{kind}: {entry.id} needs {number} hosts, {run.entry} has {len(run.hosts)}"
                    self.findings.append(finding("too-few-hosts", text, entry.origin.place("num_nodes")))
                continue
            own = replace(
                choice,
                hosts=run.hosts[:number],
                why=f"the first {number} of the {len(run.hosts)} of {run.id}",
            )
            settings, problems = self._common.of(own.hosts, entry)
            self.findings += problems if first else []
            if settings is None:
                continue
            if first:
                self.findings += self._checks.of_run(entry, case, settings)
                self.findings += self._rules.of_entry(entry, [self._point(case, own, settings)])
            made = self._run(entry, run.iteration, case, own, settings, ())
            yield replace(made, id=f"{run.id}/{kind}/{name}", entry=f"{run.entry}/{kind}/{name}")

    def _point(self, case: Case, choice: Choice, settings: Settings) -> RunPoint:
        """Returns what the rules about runs need to know, with the assumptions in the inventory's place."""
        assume = self._assume
        ranks = assume.of_ranks
        return RunPoint(
            case,
            len(choice.hosts),
            settings.gpus_per_node if ranks is None else ranks,
            case.arguments.backend or assume.backend or settings.backend,
            settings.program,
            settings.container_runtime,
            settings.env,
            assumed=ranks is not None and assume.ranks_per_host is None,
        )

    def _run(
        self,
        entry: Entry,
        iteration: int,
        case: Case,
        choice: Choice,
        settings: Settings,
        after: tuple[After, ...],
    ) -> Run:
        arguments = case.arguments
        backend = arguments.backend or settings.backend
        world_size = len(choice.hosts) * settings.gpus_per_node
        shared = self._parts.of(entry, case, settings, backend, len(choice.hosts))
        return Run(
            id=_run_id(entry, iteration, case),
            entry=entry.id,
            iteration=iteration,
            step=case.step,
            sweep=case.sweep,
            test_name=entry.test_name,
            description=entry.description,
            template=entry.template,
            program=settings.program,
            backend=backend,
            container_runtime=settings.container_runtime,
            image=arguments.docker_image_url,
            image_source=_image_source(arguments.docker_image_url, settings),
            container=_container(settings),
            hosts=choice.hosts,
            ranks_per_host=settings.gpus_per_node,
            why_hosts=choice.why,
            mode=arguments.mode,
            config=shared.config,
            config_requested=shared.requested,
            env=shared.env,
            argv=shared.argv,
            mounts=shared.mounts,
            master_interface=settings.master_interface,
            time_limit_s=entry.time_limit_s or DEFAULT_TIME_LIMIT_S,
            rendezvous_timeout_s=settings.rendezvous_timeout_s,
            process_group_timeout_s=settings.process_group_timeout_s,
            after=after,
            expect=Expect(
                OPERATIONS,
                world_size,
                len(choice.hosts),
                FILES,
                traces=world_size if arguments.use_kineto_profiler else 0,
            ),
            test_definition={
                **entry.definition,
                "cmd_args": shared.cmd_args,
                "extra_env_vars": dict(case.env),
            },
            slurm=slurm.of_run(self._inventory, entry, settings, arguments.docker_image_url),
        )


@dataclass(frozen=True, slots=True)
class _Shared:
    """What runs with equal arguments, environment and settings have in common; made once for all of them."""

    config: Mapping[str, Scalar]
    requested: Mapping[str, int]
    cmd_args: Mapping[str, object]
    env: Mapping[str, str]
    argv: tuple[Text, ...]
    mounts: tuple[Text, ...]


class _Parts:
    """Makes the parts of a run once for all runs that have them in common: there may be thousands."""

    def __init__(self) -> None:
        self._known: dict[object, _Shared] = {}

    def of(self, entry: Entry, case: Case, settings: Settings, backend: str, hosts: int) -> _Shared:
        """Returns the parts of a run on so many hosts."""
        key = (
            case.arguments,
            tuple(case.env.items()),
            tuple(entry.extra_cmd_args.items()),
            json.dumps(entry.definition.get("nsys")),
            entry.extra_container_mounts,
            id(settings),
            hosts,
        )
        if key not in self._known:
            self._known[key] = self._make(entry, case, settings, backend, hosts)
        return self._known[key]

    @staticmethod
    def _make(entry: Entry, case: Case, settings: Settings, backend: str, hosts: int) -> _Shared:
        arguments, extra = case.arguments, entry.extra_cmd_args
        values, requested = config(arguments, settings, settings.program, backend)
        return _Shared(
            config=values,
            requested=requested,
            cmd_args={name: value for name in _ARGUMENTS if (value := getattr(arguments, name)) is not None},
            env=environment(settings, case.env),
            argv=command.bundled(hosts, settings, extra, nsys.of_ranks(entry.definition.get("nsys")))
            if settings.program == "bundled"
            else command.of_image(
                hosts, settings, arguments, extra, nsys.of_host(entry.definition.get("nsys"))
            ),
            mounts=command.mounts(arguments, settings, entry.extra_container_mounts),
        )


def _points(entry: Entry) -> Iterator[tuple[int, Case]]:
    """Yields the entry's runs in order: iterations, and in each the points of the sweep."""
    for iteration in range(entry.iterations):
        for case in entry.cases:
            yield iteration, case


def _run_id(entry: Entry, iteration: int, case: Case) -> str:
    base = f"{entry.id}/{iteration}"
    return base if case.step is None else f"{base}/{case.step}"


def _after(entry: Entry, ids: Mapping[str, Sequence[str]]) -> tuple[After, ...]:
    """Returns what the entry's runs depend on: all runs of a completed entry, the first or last one else."""
    found: list[After] = []
    for dependency in entry.dependencies:
        runs = ids[dependency.id]
        match dependency.type:
            case DependencyType.START_POST_INIT:
                runs = runs[:1]
            case DependencyType.END_POST_COMP:
                runs = runs[-1:]
        found += (After(dependency.type.value, run) for run in runs)
    return tuple(found)


def _image_source(image: str | None, settings: Settings) -> ImageSource | None:
    if image is None or settings.container_runtime == "none":
        return None
    found = images.source(image, settings.container_runtime)
    return ImageSource(found.kind, found.reference, found.registry)


def _container(settings: Settings) -> Container | None:
    if settings.container_runtime == "none":
        return None
    return Container(
        settings.container_privileged,
        settings.container_entrypoint,
        settings.container_without,
        settings.container_options,
    )


def _planned(host: Host) -> PlannedHost:
    groups = tuple(group for group in host.groups if group != "ungrouped")
    return PlannedHost(host.connection, groups, host.settings.one_machine)
