"""What a rule gets, what it finds, and what a rule is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from compiler.diagnostics.model import KeyPath, Severity
from compiler.rules.kernels.limits import Limit, LimitValue, Release, limit_values, limits
from compiler.rules.kernels.sizes import GROUP, V1_DEFAULT_SMS
from compiler.scenario.model import Arguments

TIMES = "\N{MULTIPLICATION SIGN}"


class Kernel(StrEnum):
    """Which of DeepEP's kernel families a run uses."""

    COLLECTIVE = "gloo, nccl"
    V1_INTRANODE = "V1 standard, one group"
    V1_INTERNODE = "V1 standard, several groups"
    V1_LOW_LATENCY = "V1 low latency"
    V2 = "V2"


V1_STANDARD = frozenset({Kernel.V1_INTRANODE, Kernel.V1_INTERNODE})
V1_NVSHMEM = frozenset({Kernel.V1_INTERNODE, Kernel.V1_LOW_LATENCY})
V1 = V1_STANDARD | V1_NVSHMEM
DEEPEP = V1 | {Kernel.V2}
ALL = frozenset(Kernel)

BUNDLED = frozenset({"bundled"})
IMAGE = frozenset({"image"})
ANY_PROGRAM = BUNDLED | IMAGE


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What is known about one run before it starts.

    ``backend`` is the one asked for (``deepep``, ``deepep_v1``, ``deepep_v2``, ``nccl``, ``gloo``);
    ``deepep_version`` is the package's version in the image, ``None`` where nobody knows. ``gpu_sms`` is the
    SM count to check against. ``ranks_assumed``: no inventory told the number of ranks per host.
    """

    arguments: Arguments
    nodes: int
    ranks_per_host: int
    backend: str
    program: str = "bundled"
    deepep_version: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    time_limit_s: int | None = None
    gpu_sms: int = 132
    ranks_assumed: bool = False

    @property
    def world_size(self) -> int:
        """Number of ranks."""
        return self.nodes * self.ranks_per_host


@dataclass(frozen=True, slots=True)
class Run:
    """One run under one release of DeepEP, with what checks ask for most: what a rule's check gets.

    ``groups`` are V1's groups of 8 ranks, at least one. ``experts_per_rank`` is rounded up where the experts
    do not come out even. ``element_bytes`` are those of one channel in dispatch; combine always sends two.
    """

    facts: RunFacts
    release: Release
    kernel: Kernel
    arguments: Arguments
    hosts: int
    ranks_per_host: int
    ranks: int
    groups: int
    experts_per_rank: int
    element_bytes: int
    limit: Callable[[str], LimitValue]
    """Returns the value of a limit, by slug, in this release."""

    @classmethod
    def of(cls, facts: RunFacts, release: Release, kernel: Kernel) -> Run:
        """Returns the run; it has at least one rank."""
        arguments, ranks = facts.arguments, facts.world_size
        return cls(
            facts=facts,
            release=release,
            kernel=kernel,
            arguments=arguments,
            hosts=facts.nodes,
            ranks_per_host=facts.ranks_per_host,
            ranks=ranks,
            groups=max(ranks // GROUP, 1),
            experts_per_rank=-(-arguments.num_experts // ranks),
            element_bytes=1 if arguments.data_type == "fp8" else 2,
            limit=limit_values(release.version).__getitem__,
        )

    @property
    def sms(self) -> int:
        """SMs that V1 uses."""
        return V1_DEFAULT_SMS if self.arguments.num_sms is None else self.arguments.num_sms

    @property
    def shape(self) -> str:
        """The ranks as text, e.g. ``16 ranks (2 hosts x 8 assumed)``."""
        assumed = " assumed" if self.facts.ranks_assumed else ""
        hosts = f"{self.hosts} host{'' if self.hosts == 1 else 's'} {TIMES} {self.ranks_per_host}"
        return f"{self.ranks} rank{'' if self.ranks == 1 else 's'} ({hosts}{assumed})"


@dataclass(frozen=True, slots=True)
class Problem:
    """What a check found: the key to point at, the value with the computed quantity, the way out."""

    key: KeyPath
    message: str
    fix: str


Check = Callable[[Run], Iterator[Problem]]


@dataclass(frozen=True, slots=True)
class Example:
    """A run of a rule's documentation and tests. ``arguments`` are those without their default."""

    backend: str
    hosts: int = 2
    arguments: Mapping[str, object] = field(default_factory=dict)
    ranks_per_host: int = 8
    program: str = "bundled"
    version: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    time_limit_s: int | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """One demand with its check. Severity, requirement, reason and sources stand in ``limits.toml``."""

    code: str
    slug: str
    title: str
    kernels: frozenset[Kernel]
    check: Check
    good: Example
    bad: Example
    programs: frozenset[str] = ANY_PROGRAM

    @property
    def limit(self) -> Limit:
        """The rule's data."""
        return limits()[self.slug]

    @property
    def severity(self) -> Severity:
        """How much a finding weighs where every release that may be installed has the limit."""
        return self.limit.severity

    @property
    def sources(self) -> str:
        """The first source line of each release that has the limit, as text."""
        lines = {version: lines[0] for version, lines in self.limit.sources.items()}
        return "; ".join(f"DeepEP {version} {line}" for version, line in lines.items())

    def applies(self, kernel: Kernel, program: str, release: Release) -> bool:
        """Tells whether the rule concerns runs of a program with a kernel family of a release."""
        return kernel in self.kernels and program in self.programs and release.version in self.limit.sources
