"""What the page shows, read from a result tree: frozen, typed, nothing rendered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RankTime:
    """One rank's time of one operation, in seconds."""

    rank: int
    host: str
    median_s: float
    min_s: float
    max_s: float


@dataclass(frozen=True, slots=True)
class OwnTest:
    """As DeepEP's own test measures the operation: what was called, how it was timed, times in s.

    ``parts`` are what the test tells apart: kernel, epilogue, send, receive and so on.
    """

    call: str
    method: str
    time_s: float | None
    parts: Mapping[str, float]
    marks: Sequence[str]


@dataclass(frozen=True, slots=True)
class Record:
    """One operation's figures: bandwidths in GB/s, times in seconds; None where a figure does not apply.

    ``as_tested``: what DeepEP's own test prints for the operation, also where another form's record has it;
    ``tested_marks`` are that one's.
    """

    operation: str
    variant: str
    primary: bool
    baseline: bool
    backend: str
    data_type: str
    global_bw: float | None
    deepep_time: float | None
    simple_nvl_bw: float | None
    simple_rdma_bw: float | None
    wire_nvl_bw: float | None
    wire_rdma_bw: float | None
    kernel_time: float | None
    epilogue_time: float | None
    own_test: OwnTest | None
    as_tested: Mapping[str, float]
    tested_marks: Sequence[str]
    percentiles: Mapping[str, float]
    total_time: float | None
    timing: str
    counting: str
    bytes_total: int | None
    correctness: str
    ranks: Sequence[RankTime]
    versions: Mapping[str, str]
    notes: Sequence[str]
    marks: Sequence[str]

    @property
    def name(self) -> str:
        """The operation, with its form where that does not go without saying."""
        return f"{self.operation} ({self.variant})" if self.variant and not self.primary else self.operation


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A few lines of a log; ``marked`` is the number of the line that shows the failure, if one does."""

    file: str
    first: int
    lines: Sequence[str]
    marked: int | None


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason behind a verdict, with its meaning. ``file`` is relative to the session."""

    code: str
    title: str
    text: str
    file: str | None
    line: int | None
    consequence: bool
    remedy: str | None


@dataclass(frozen=True, slots=True)
class Evidence:
    """One thing that points at a suspect. ``file`` is relative to the session."""

    text: str
    file: str | None
    line: int | None


@dataclass(frozen=True, slots=True)
class Suspect:
    """Who or what is the likely culprit; ``kind`` is ``unknown`` where it cannot be told."""

    kind: str
    text: str
    evidence: Sequence[Evidence]


@dataclass(frozen=True, slots=True)
class SpreadFact:
    """Spread of one operation over ranks and links: medians in s; ``outliers`` the farthest first."""

    run: str
    anchor: str
    operation: str
    ranks: int
    median_s: float
    mad_s: float
    relative: float
    outliers: Sequence[Straggler]


@dataclass(frozen=True, slots=True)
class Straggler:
    """A rank, host, sender, receiver or link far from the others; ``relative``: value over median - 1."""

    role: str
    label: str
    relative: float
    speed: str

    @property
    def text(self) -> str:
        """What it is and which; labels of ranks say so themselves."""
        return self.label if self.role == "rank" else f"{self.role} {self.label}"


@dataclass(frozen=True, slots=True)
class Ratio:
    """One figure against a physical limit (``outcome`` None) or a reference value. Times in s, else GB/s.

    ``primary``: it is its operation's figure, and not one of a variant or baseline beside it.
    """

    run: str
    anchor: str
    operation: str
    figure: str
    value: float
    against: str
    expected: float
    ratio: float
    tolerance: float | None
    outcome: str | None
    source: str
    primary: bool = True
    baseline: bool = False
    marks: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Repeated:
    """One figure over independent starts, in the record's unit.

    ``cv``: their spread as a share of their mean, None with one start. ``interval``: 95 % bootstrap interval
    of the geometric mean; where it is None, ``why`` says why.
    """

    median: float
    starts: int
    cv: float | None
    interval: tuple[float, float] | None
    why: str


@dataclass(frozen=True, slots=True)
class Operation:
    """What the starts that count gave for one operation: figures by key; ``marked`` starts have marks."""

    name: str
    backend: str
    baseline: bool
    marked: int
    figures: Mapping[str, Repeated]

    @property
    def bandwidth(self) -> float | None:
        """Median of the global bandwidth, GB/s."""
        found = self.figures.get("global_bw")
        return found.median if found else None

    @property
    def starts(self) -> int:
        """Starts that gave a figure."""
        return max((one.starts for one in self.figures.values()), default=0)


@dataclass(frozen=True, slots=True)
class Point:
    """One entry at one combination of swept values: ``runs`` are its starts, also those that do not count."""

    entry: str
    test_name: str
    values: Mapping[str, str | float]
    runs: Sequence[str]
    anchor: str
    operations: Sequence[Operation]


@dataclass(frozen=True, slots=True)
class SweptFigure:
    """An operation at one point of a sweep, over the starts that count."""

    operation: str
    bandwidth: Repeated | None
    time: Repeated | None
    marked: int
    best: bool

    @property
    def global_bw(self) -> float | None:
        """Median, GB/s."""
        return self.bandwidth.median if self.bandwidth else None

    @property
    def deepep_time(self) -> float | None:
        """Median, s."""
        return self.time.median if self.time else None

    @property
    def starts(self) -> int:
        """Starts that gave a time."""
        return self.time.starts if self.time else 0


@dataclass(frozen=True, slots=True)
class SweepPoint:
    """One combination of swept values."""

    values: Mapping[str, str | float]
    runs: Sequence[str]
    anchor: str
    figures: Sequence[SweptFigure]


@dataclass(frozen=True, slots=True)
class Sweep:
    """An entry's figures over its swept arguments."""

    entry: str
    anchor: str
    test_name: str
    keys: Sequence[str]
    points: Sequence[SweepPoint]


@dataclass(frozen=True, slots=True)
class Setting:
    """One value of the configuration; ``requested`` where the test asked for another one."""

    name: str
    value: str
    requested: str | None = None


@dataclass(frozen=True, slots=True)
class Links:
    """How long ``bytes`` take from each rank (row) to each other one (column), in s; hosts by rank."""

    method: str
    group: str
    bytes: float
    hosts: Sequence[str]
    time_s: Sequence[Sequence[float | None]]


@dataclass(frozen=True, slots=True)
class Matrix:
    """Data from each source (row) to each destination (column) in ``unit``, with the name of each."""

    values: Sequence[Sequence[float]]
    labels: Sequence[str]
    unit: str
    of_hosts: bool


@dataclass(frozen=True, slots=True)
class GpuState:
    """A GPU while operations were timed: from lowest to highest sample; None where nobody told."""

    host: str
    index: str
    model: str
    serial: str
    driver: str
    samples: int
    clock_mhz: tuple[float, float] | None
    max_clock_mhz: float | None
    temperature_c: tuple[float, float] | None
    power_w: tuple[float, float] | None
    power_limit_w: float | None
    throttled: str


@dataclass(frozen=True, slots=True)
class Carried:
    """Bytes that a host's links counted during the run; None where they do not tell."""

    host: str
    nvlink_sent: float | None
    nvlink_received: float | None
    rdma_sent: float | None
    rdma_received: float | None
    rdma_ports: str


@dataclass(frozen=True, slots=True)
class RunEvidence:
    """Under what conditions a run was measured; GPUs, libraries and environment where runs are few."""

    conditions: Sequence[Setting]
    gpus: Sequence[GpuState]
    carried: Sequence[Carried]
    effective: Sequence[Setting]
    libraries: Sequence[Setting]
    environment: Sequence[Setting]


@dataclass(frozen=True, slots=True)
class FileLink:
    """A file of the tree, relative to the session directory."""

    path: str
    name: str
    size: int


@dataclass(frozen=True, slots=True)
class Run:
    """One run with its verdict and everything that came back."""

    id: str
    anchor: str
    label: str
    sweep: Mapping[str, str]
    verdict: str
    test_name: str
    description: str
    mode: str
    backend: str
    program: str
    image: str
    image_digest: str
    stand_in: bool
    hosts: Sequence[str]
    why_hosts: str
    world_size: int
    ranks_per_host: int
    duration_s: float | None
    time_limit_s: int | None
    started_at: str
    entry: str
    reasons: Sequence[Reason]
    suspect: Suspect | None
    notes: Sequence[str]
    excerpt: Excerpt | None
    records: Sequence[Record]
    settings: Sequence[Setting]
    environment: Sequence[Setting]
    command: str
    matrix: Matrix | None
    links: Links | None
    expert_load: Sequence[int]
    files: Sequence[FileLink]
    spread: Sequence[SpreadFact]
    ratios: Sequence[Ratio]
    evidence: RunEvidence | None

    @property
    def counts(self) -> bool:
        """Whether its figures count: the run passed, or nothing speaks against it."""
        return self.verdict in ("PASS", "UNVERIFIED")

    @property
    def cause(self) -> Reason | None:
        """The first reason."""
        return self.reasons[0] if self.reasons else None

    @property
    def heads(self) -> Sequence[Record]:
        """The records that an overview shows: neither variants nor baselines, but other backends."""
        own = {record.backend for record in self.records if record.primary}
        return [r for r in self.records if r.primary or (not r.baseline and r.backend not in own)]

    @property
    def only_unproven(self) -> bool:
        """Whether nothing speaks against it but that nothing proves it."""
        return bool(self.reasons) and all(reason.code == "program-unverified" for reason in self.reasons)

    def baseline(self, operation: str, variant: str) -> float | None:
        """Returns the time of a baseline of an operation, in s."""
        for record in self.records:
            if record.baseline and (record.operation, record.variant) == (operation, variant):
                return record.deepep_time
        return None


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check before the runs said of some hosts alike; ``result``: pass, warn, fail or unknown."""

    result: str
    check: str
    hosts: str
    text: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Preflight:
    """How the hosts were before the runs; ``refused``: why runs could not start."""

    summary: str
    findings: Sequence[Finding]
    refused: Mapping[str, str]

    @property
    def troubles(self) -> Sequence[Finding]:
        """What is wrong, or may be."""
        return [one for one in self.findings if one.result in ("fail", "warn")]

    @property
    def unknown(self) -> Sequence[Finding]:
        """What could not be checked."""
        return [one for one in self.findings if one.result == "unknown"]

    @property
    def passed(self) -> Sequence[str]:
        """The checks that some or all hosts passed."""
        return list(dict.fromkeys(one.check for one in self.findings if one.result == "pass"))


@dataclass(frozen=True, slots=True)
class SelfTestTime:
    """One operation of a host's self-test, in s, against the median of hosts like it, as value / median - 1.

    ``outlier``: slower or faster, where the host is far from the others.
    """

    time_s: float
    relative: float | None
    outlier: str = ""


@dataclass(frozen=True, slots=True)
class SelfTested:
    """One host alone; ``reason``: why it did not complete."""

    host: str
    anchor: str
    reason: str
    times: Mapping[str, SelfTestTime]

    @property
    def outliers(self) -> Mapping[str, SelfTestTime]:
        """The operations in which it is far from the others."""
        return {name: time for name, time in self.times.items() if time.outlier}


@dataclass(frozen=True, slots=True)
class SelfTest:
    """Every host alone, compared: those in trouble first."""

    hosts: Sequence[SelfTested]
    operations: Sequence[str]
    notes: Sequence[str]

    @property
    def troubles(self) -> Sequence[SelfTested]:
        """Hosts that failed or are far from the others."""
        return [one for one in self.hosts if one.reason or one.outliers]


@dataclass(frozen=True, slots=True)
class Host:
    """What a host said of itself: the same keys for all hosts of a page, ``None`` where it did not know."""

    name: str
    machine: str | None
    connection: str
    runs: int
    preflight: str
    facts: Mapping[str, str | None]


LINKS = {"simple_nvl_bw": "NVLink", "simple_rdma_bw": "RDMA"}
"""Bandwidths as DeepEP's own test counts them, as an overview heads them."""


@dataclass(frozen=True, slots=True)
class Session:
    """A whole result tree."""

    scenario: str
    description: str
    status: str
    run_id: str
    started_at: str
    ended_at: str
    launcher: str
    passed: bool
    counts: Mapping[str, int]
    stand_in: bool
    one_machine: Sequence[tuple[str, Sequence[str]]]
    capped: Sequence[tuple[str, str, str]]
    warnings: Sequence[str]
    runs: Sequence[Run]
    hosts: Sequence[Host]
    versions: Sequence[Setting]
    files: Sequence[FileLink]
    points: Sequence[Point]
    sweeps: Sequence[Sweep]
    preflight: Preflight | None = None
    selftest: SelfTest | None = None
    origin: str = ""
    """Where the tree is from, if it is none of this project's."""
    unproven: str = ""
    """Why nothing of a foreign tree can be verified."""

    @property
    def repeated(self) -> Sequence[Point]:
        """The entries and points that were started more than once."""
        return [point for point in self.points if len(point.runs) > 1]

    @property
    def tested_links(self) -> Sequence[str]:
        """The bandwidths of DeepEP's own tests that any run has."""
        found = {key for run in self.runs for record in run.heads for key in record.as_tested}
        return [key for key in LINKS if key in found]

    @property
    def has_baselines(self) -> bool:
        """Whether NCCL was measured beside DeepEP."""
        return any(record.baseline for run in self.runs for record in run.records)
