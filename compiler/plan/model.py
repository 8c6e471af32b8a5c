"""The plan: concrete runs with hosts, ranks, environment, arguments and deadlines; ``plan.json`` as types."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

from compiler.scenario.model import ALL_REPORTS, References, Reports

Scalar = str | int | float | bool

WRITTEN = ("page", "csv", "junit", "markdown", "sweeps", "archive")
"""The reports that a scenario chooses, as :class:`Reports` names them."""

SCHEMA = 1
"""Version of ``plan.json`` (``schemas/plan.schema.json``)."""


class Variable(StrEnum):
    """What only the host or the moment knows; filled in there."""

    PYTHON = "python"
    PROGRAM_DIR = "program_dir"
    RUN_DIR = "run_dir"
    NODE_RANK = "node_rank"
    MASTER_ADDR = "master_addr"
    MASTER_PORT = "master_port"


@dataclass(frozen=True, slots=True)
class Join:
    """A text with variables in it: the parts, one after another."""

    parts: tuple[str | Variable, ...]

    def to_json(self) -> dict[str, object]:
        """Returns ``{"join": [...]}`` with variables as ``{"var": name}``."""
        return {"join": [{"var": part.value} if isinstance(part, Variable) else part for part in self.parts]}


Text = str | Join
"""A literal text, or one with variables."""


class Verb(StrEnum):
    """What a step does with a run; ``finish`` collects and judges it."""

    START = "start"
    AWAIT = "await"
    STOP = "stop"
    FINISH = "finish"


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the schedule."""

    verb: Verb
    run: str


@dataclass(frozen=True, slots=True)
class After:
    """A dependency of one run on another; ``type`` is one of the scenario's three."""

    type: str
    run: str


@dataclass(frozen=True, slots=True)
class Expect:
    """What must come back from a run for it to pass. ``traces`` counts profiler files."""

    operations: tuple[str, ...]
    world_size: int
    hosts: int
    files: tuple[str, ...]
    traces: int


@dataclass(frozen=True, slots=True)
class ImageSource:
    """What a host's runtime is given to get the image (:func:`compiler.rules.images.source`)."""

    kind: str
    reference: str
    registry: str | None

    def to_json(self) -> dict[str, object]:
        """Returns the source as ``plan.json`` has it."""
        return {"kind": self.kind, "reference": self.reference, "registry": self.registry}


@dataclass(frozen=True, slots=True)
class Container:
    """How the inventory changes the container's defaults (``deepep_host.container_defaults``)."""

    privileged: bool
    entrypoint: bool
    without: tuple[str, ...]
    options: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        """Returns the changes as ``plan.json`` has them."""
        return {
            "privileged": self.privileged,
            "entrypoint": self.entrypoint,
            "without": list(self.without),
            "options": list(self.options),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Returns the changes that :meth:`to_json` gave."""
        return cls(data["privileged"], data["entrypoint"], tuple(data["without"]), tuple(data["options"]))


@dataclass(frozen=True, slots=True)
class PlannedHost:
    """A host that some run uses. Hosts with the same ``one_machine`` are one physical machine."""

    connection: str
    groups: tuple[str, ...]
    one_machine: str | None


@dataclass(frozen=True, slots=True)
class SlurmRun:
    """What a run's job needs beyond the run: whether Slurm chooses its hosts, and which it must not take.

    ``exclude`` are Slurm's node names; ``srun_args`` the entry's own words for srun.
    """

    any_hosts: bool
    exclude: tuple[str, ...]
    srun_args: tuple[str, ...]
    image_file: str | None = None
    """The squashfs file that the run's hosts start; None without a container."""
    pyxis: bool = False
    """Whether srun starts it, so that the supervisor is inside."""
    job_options: tuple[str, ...] = ()
    """srun's words for short jobs beside the run's: one that makes the image's file, one that fetches."""


@dataclass(frozen=True, slots=True)
class SlurmNode:
    """A compute host: its name in Slurm, and the interpreter there that has torch."""

    node: str
    python: str | None


@dataclass(frozen=True, slots=True)
class SlurmPlan:
    """What all jobs of a plan have in common (``deepep_slurm_*``). ``login`` is the host that submits.

    ``nodes`` has every compute host that a run may get, by inventory name.
    """

    login: str
    nodes: Mapping[str, SlurmNode]
    shared_dir: str | None
    work_dir: str | None
    host_python: str
    same_hosts: bool
    one_job: bool
    parallel: bool
    poll_s: int
    queue_limit_s: int

    def to_json(self) -> dict[str, object]:
        """Returns it as ``plan.json`` has it."""
        values: dict[str, object] = {name: getattr(self, name) for name in self.__dataclass_fields__}
        values["nodes"] = {
            name: {"node": node.node, "python": node.python} for name, node in self.nodes.items()
        }
        return values

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Returns what :meth:`to_json` gave."""
        values = {name: data[name] for name in cls.__dataclass_fields__}
        values["nodes"] = {
            name: SlurmNode(node["node"], node["python"]) for name, node in data["nodes"].items()
        }
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Run:
    """One execution of one point of one entry. ``id`` is its directory below the session's.

    ``hosts`` are in the order of their node ranks. ``config`` is what ``config.yaml`` says, in order.
    ``config_requested`` holds what the TOML asked for where the inventory caps it. ``image`` is as written;
    it, ``image_source`` and ``container`` are None without a container, but for an image that is not used.
    """

    id: str
    entry: str
    iteration: int
    step: int | None
    sweep: Mapping[str, Scalar]
    test_name: str
    description: str
    template: str
    program: str
    backend: str
    container_runtime: str
    image: str | None
    image_source: ImageSource | None
    container: Container | None
    hosts: tuple[str, ...]
    ranks_per_host: int
    why_hosts: str
    mode: str
    config: Mapping[str, Scalar]
    config_requested: Mapping[str, int]
    env: Mapping[str, str]
    argv: tuple[Text, ...]
    mounts: tuple[Text, ...]
    master_interface: str | None
    time_limit_s: int
    rendezvous_timeout_s: int
    process_group_timeout_s: int
    after: tuple[After, ...]
    expect: Expect
    test_definition: Mapping[str, object]
    slurm: SlurmRun | None = None

    @property
    def world_size(self) -> int:
        """Ranks over all hosts."""
        return len(self.hosts) * self.ranks_per_host

    def to_json(self) -> dict[str, object]:
        """Returns the run as ``plan.json`` has it."""
        return {
            "id": self.id,
            "entry": self.entry,
            "iteration": self.iteration,
            "step": self.step,
            "sweep": dict(self.sweep),
            "test_name": self.test_name,
            "description": self.description,
            "template": self.template,
            "program": self.program,
            "backend": self.backend,
            "container_runtime": self.container_runtime,
            "image": self.image,
            "image_source": self.image_source.to_json() if self.image_source else None,
            "container": self.container.to_json() if self.container else None,
            "hosts": [{"name": name, "node_rank": rank} for rank, name in enumerate(self.hosts)],
            "ranks_per_host": self.ranks_per_host,
            "world_size": self.world_size,
            "why_hosts": self.why_hosts,
            "mode": self.mode,
            "config": dict(self.config),
            "config_requested": dict(self.config_requested),
            "env": dict(self.env),
            "argv": _texts_to_json(self.argv),
            "mounts": _texts_to_json(self.mounts),
            "master_interface": self.master_interface,
            "time_limit_s": self.time_limit_s,
            "rendezvous_timeout_s": self.rendezvous_timeout_s,
            "process_group_timeout_s": self.process_group_timeout_s,
            "after": [{"type": after.type, "run": after.run} for after in self.after],
            "expect": {
                "operations": list(self.expect.operations),
                "world_size": self.expect.world_size,
                "hosts": self.expect.hosts,
                "files": list(self.expect.files),
                "traces": self.expect.traces,
            },
            "test_definition": dict(self.test_definition),
            **(
                {
                    "slurm": {
                        "any_hosts": self.slurm.any_hosts,
                        "exclude": list(self.slurm.exclude),
                        "srun_args": list(self.slurm.srun_args),
                        "image_file": self.slurm.image_file,
                        "pyxis": self.slurm.pyxis,
                        "job_options": list(self.slurm.job_options),
                    }
                }
                if self.slurm
                else {}
            ),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Returns the run that :meth:`to_json` gave. Raises KeyError where a key is missing."""
        expect = data["expect"]
        values = {name: data[name] for name in cls.__dataclass_fields__ if name != "slurm"}
        values["slurm"] = _slurm_from_json(data["slurm"]) if data.get("slurm") else None
        values["hosts"] = tuple(host["name"] for host in data["hosts"])
        values["argv"] = _texts_from_json(data["argv"])
        values["mounts"] = _texts_from_json(data["mounts"])
        values["image_source"] = ImageSource(**data["image_source"]) if data["image_source"] else None
        values["container"] = Container.from_json(data["container"]) if data["container"] else None
        values["after"] = tuple(After(after["type"], after["run"]) for after in data["after"])
        values["expect"] = Expect(
            tuple(expect["operations"]),
            expect["world_size"],
            expect["hosts"],
            tuple(expect["files"]),
            expect["traces"],
        )
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Plan:
    """All runs of a scenario in the order of execution, and the flat schedule of what is done with them."""

    compiler_version: str
    scenario: str
    description: str | None
    launcher: str
    hosts: Mapping[str, PlannedHost]
    runs: tuple[Run, ...]
    steps: tuple[Step, ...]
    warnings: tuple[str, ...]
    reports: Reports = ALL_REPORTS
    slurm: SlurmPlan | None = None
    selftest: Mapping[str, str] = field(default_factory=dict)
    """Host -> its self-test, a run that comes before the steps; empty without ``--selftest``."""

    def head_to_json(self) -> dict[str, object]:
        """Returns everything but the runs and steps, in the order of ``plan.json``."""
        return {
            "schema": SCHEMA,
            "compiler_version": self.compiler_version,
            "scenario": {"name": self.scenario, "description": self.description},
            "launcher": self.launcher,
            "hosts": {
                name: {
                    "connection": host.connection,
                    "groups": list(host.groups),
                    "one_machine": host.one_machine,
                }
                for name, host in self.hosts.items()
            },
            "reports": {name: getattr(self.reports, name) for name in WRITTEN},
            "references": _references_to_json(self.reports.references),
            "warnings": list(self.warnings),
            **({"slurm": self.slurm.to_json()} if self.slurm else {}),
            **({"selftest": dict(self.selftest)} if self.selftest else {}),
        }

    def to_json(self) -> dict[str, object]:
        """Returns the plan as ``plan.json`` has it."""
        return {
            **self.head_to_json(),
            "steps": [{"verb": step.verb.value, "run": step.run} for step in self.steps],
            "runs": [run.to_json() for run in self.runs],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Returns the plan that :meth:`to_json` gave.

        Raises ValueError for another version of ``plan.json``, KeyError where a key is missing.
        """
        if data["schema"] != SCHEMA:
            raise ValueError(f"plan.json has version {data['schema']}, this compiler reads version {SCHEMA}")
        return cls(
            compiler_version=data["compiler_version"],
            scenario=data["scenario"]["name"],
            description=data["scenario"]["description"],
            launcher=data["launcher"],
            hosts={
                name: PlannedHost(host["connection"], tuple(host["groups"]), host["one_machine"])
                for name, host in data["hosts"].items()
            },
            runs=tuple(Run.from_json(run) for run in data["runs"]),
            steps=tuple(Step(Verb(step["verb"]), step["run"]) for step in data["steps"]),
            warnings=tuple(data["warnings"]),
            reports=Reports(**data["reports"], references=_references_from_json(data["references"])),
            slurm=SlurmPlan.from_json(data["slurm"]) if "slurm" in data else None,
            selftest=dict(data.get("selftest", {})),
        )

    def groups_of_steps(self) -> Iterator[tuple[Step, ...]]:
        """Yields the schedule in pieces between which nothing runs: one run, or runs that overlap."""
        group: list[Step] = []
        unfinished: set[str] = set()
        for step in self.steps:
            group.append(step)
            if step.verb is Verb.FINISH:
                unfinished.discard(step.run)
            else:
                unfinished.add(step.run)
            if not unfinished:
                yield tuple(group)
                group = []


def _references_to_json(references: References | None) -> dict[str, object] | None:
    return {"fail": references.fail, "values": list(references.values)} if references else None


def _references_from_json(data: Mapping[str, Any] | None) -> References | None:
    return References(data["fail"], tuple(data["values"])) if data is not None else None


def _slurm_from_json(data: Mapping[str, Any]) -> SlurmRun:
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in data.items()
    }
    return SlurmRun(**values)


def _texts_to_json(texts: Sequence[Text]) -> list[object]:
    return [text if isinstance(text, str) else text.to_json() for text in texts]


def _texts_from_json(items: Sequence[Any]) -> tuple[Text, ...]:
    return tuple(
        item
        if isinstance(item, str)
        else Join(tuple(part if isinstance(part, str) else Variable(part["var"]) for part in item["join"]))
        for item in items
    )
