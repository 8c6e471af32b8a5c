"""The resolved scenario: frozen, typed, free of raw TOML. Everything after ``resolve`` reads only this."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from compiler.diagnostics.model import KeyPath, Place

Scalar = str | int | float | bool


class DependencyType(StrEnum):
    """When an entry may start, or must end, relative to another one (CloudAI's three types)."""

    START_POST_COMP = "start_post_comp"
    START_POST_INIT = "start_post_init"
    END_POST_COMP = "end_post_comp"


@dataclass(frozen=True, slots=True)
class Arguments:
    """``cmd_args`` of a DeepEPBenchmark test at one point of its sweep. Names and units are the schema's.

    None means automatic (``num_sms``, ``num_qps_per_rank``, chunks) or absent.
    """

    docker_image_url: str | None
    mode: str
    tokens: int
    num_experts: int
    num_topk: int
    hidden_size: int
    data_type: str
    allow_nvlink_for_low_latency: bool
    allow_mnnvl: bool
    round_scale: bool
    use_ue8m0: bool
    num_warmups: int
    num_iterations: int
    shuffle_columns: bool
    use_kineto_profiler: bool
    num_sms: int | None
    num_qps_per_rank: int | None
    config_file_path: str
    results_dir: str
    backend: str | None
    seed: int
    routing: str
    num_groups: int | None
    num_topk_groups: int | None
    imbalance: float | None
    routing_trace: str | None
    use_logfmt: bool
    enable_tuning: bool
    dispatch_chunks: str | None
    combine_chunks: str | None


@dataclass(frozen=True, slots=True)
class Dependency:
    """This entry depends on the entry ``id``."""

    type: DependencyType
    id: str
    place: Place


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """One element of ``nodes`` or ``exclude_nodes`` as written, with its place for diagnostics."""

    text: str
    place: Place


@dataclass(frozen=True, slots=True)
class Case:
    """One point of an entry's sweep; an entry that sweeps nothing has exactly one, with ``step`` None.

    ``step`` counts from 1, the last swept key varying fastest. ``sweep`` holds the swept keys with this
    point's values, e.g. ``{"cmd_args.tokens": 128}``.
    """

    step: int | None
    sweep: Mapping[str, Scalar]
    arguments: Arguments
    env: Mapping[str, str]
    num_nodes: int | None


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the values of an entry were written: in the scenario or in its test's file. For diagnostics.

    ``layers`` are (place of the table, its values), the winning one first.
    """

    entry: Place
    layers: tuple[tuple[Place, Mapping[str, object]], ...]

    def place(self, *path: str) -> Place:
        """Returns the place of a value, or the entry's own place where nobody wrote it (a default)."""
        return self._written(path) or self.entry

    def argument(self, case: Case, *names: str) -> Place:
        """Returns the place of the first of these ``cmd_args`` that was written; in a sweep, of its value."""
        for name in names:
            found = self._written(("cmd_args", name))
            if found is None:
                continue
            value = case.sweep.get(f"cmd_args.{name}")
            for _, table in self.layers:
                listed = _walk(table, ("cmd_args", name))
                if listed is not None:
                    index = listed.index(value) if isinstance(listed, list) and value in listed else None
                    path: KeyPath = found.path if index is None else (*found.path, index)
                    return Place(found.file, path)
        return self.entry

    def _written(self, path: tuple[str, ...]) -> Place | None:
        for base, table in self.layers:
            if _walk(table, path) is not None:
                return Place(base.file, (*base.path, *path))
        return None


def _walk(table: object, path: tuple[str, ...]) -> object:
    for key in path:
        if not isinstance(table, Mapping) or key not in table:
            return None
        table = table[key]
    return table


@dataclass(frozen=True, slots=True)
class Entry:
    """One ``[[Tests]]`` entry with its test merged in (the scenario wins)."""

    id: str
    index: int
    test_name: str
    description: str
    template: str
    cases: tuple[Case, ...]
    extra_cmd_args: Mapping[str, str]
    extra_container_mounts: tuple[str, ...]
    nodes: tuple[NodeSpec, ...]
    exclude_nodes: tuple[NodeSpec, ...]
    iterations: int
    time_limit_s: int | None
    dependencies: tuple[Dependency, ...]
    place: Place
    test_file: Path
    origin: Origin
    definition: Mapping[str, object]
    """The merged test as plain JSON data, for ``test-run.toml`` only."""
    extra_srun_args: tuple[str, ...] = ()
    """Words for srun, as a shell would split the text."""


@dataclass(frozen=True, slots=True)
class References:
    """Reference values (reference.schema.json) that a scenario's tests are shown against, or held to."""

    fail: bool
    values: tuple[Mapping[str, object], ...]


@dataclass(frozen=True, slots=True)
class Reports:
    """Which reports are written: all but the archive, where the scenario says nothing."""

    page: bool = True
    csv: bool = True
    junit: bool = True
    markdown: bool = True
    sweeps: bool = True
    archive: bool = False
    references: References | None = None


ALL_REPORTS = Reports()


@dataclass(frozen=True, slots=True)
class Scenario:
    """A whole scenario, entries in file order."""

    name: str
    path: Path
    entries: tuple[Entry, ...]
    reports: Reports = ALL_REPORTS
    pre_test: tuple[Entry, ...] = ()
    """The tests of the hook before each run, in order."""
    post_test: tuple[Entry, ...] = ()
    """The tests of the hook after each run."""
