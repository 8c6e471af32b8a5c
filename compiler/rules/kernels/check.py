"""Runs the rules: which release and kernel a run uses, what is wrong, and for which points of a sweep."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache

from compiler.diagnostics.model import KeyPath, Severity
from compiler.rules.kernels.limits import Release, releases_for
from compiler.rules.kernels.model import Kernel, Problem, Rule, Run, RunFacts
from compiler.rules.kernels.registry import RULES
from compiler.rules.kernels.sizes import GROUP

PLAIN_BACKENDS = frozenset({"gloo", "nccl"})


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding, ready to become a diagnostic once the caller knows where ``key`` stands.

    ``key`` is the path within a test, e.g. ``("cmd_args", "tokens")``; ``num_nodes`` and ``time_limit``
    belong to an entry. ``releases`` are the DeepEP releases that the finding holds for, where these are not
    all that may be installed. ``points`` names the runs it was found in, where these are not all.
    """

    code: str
    slug: str
    severity: Severity
    message: str
    key: KeyPath
    why: str
    fix: str
    releases: tuple[str, ...] = ()
    points: tuple[str, ...] = ()


def check_run(facts: RunFacts) -> tuple[Finding, ...]:
    """Returns what is wrong with one run.

    Where the installed release is not known, all releases are tried. What fails with some of them only is a
    warning that names them, unless every one of them has an error.
    """
    if facts.world_size < 1:
        return ()
    runs = [Run.of(facts, release, _kernel(facts, release)) for release in _candidates(facts)]
    found = [list(_problems(run)) for run in runs]
    hopeless = all(any(rule.severity is Severity.ERROR for rule, _ in problems) for problems in found)
    plain = runs[0].kernel is Kernel.COLLECTIVE
    merged: dict[tuple[str, KeyPath], tuple[Rule, Problem, list[Release]]] = {}
    for run, problems in zip(runs, found, strict=True):
        for rule, problem in problems:
            known = merged.get((rule.code, problem.key))
            earlier = known[2] if known else []
            merged[rule.code, problem.key] = (rule, problem, [*earlier, run.release])
    return tuple(
        _finding(rule, problem, holding, everywhere=len(holding) == len(runs), hopeless=hopeless, plain=plain)
        for rule, problem, holding in merged.values()
    )


def check_kernels(runs: Iterable[tuple[str, RunFacts]]) -> list[Finding]:
    """Returns what is wrong with the points of one entry's sweep, each finding once.

    :param runs: name of each point, e.g. ``tokens = 128``, with its facts
    """
    merged: dict[tuple[str, KeyPath, str], tuple[Finding, list[str]]] = {}
    total = 0
    for point, facts in runs:
        total += 1
        for finding in check_run(facts):
            merged.setdefault((finding.code, finding.key, finding.message), (finding, []))[1].append(point)
    return [
        finding if len(points) == total else replace(finding, points=tuple(points))
        for finding, points in merged.values()
    ]


def _candidates(facts: RunFacts) -> tuple[Release, ...]:
    if facts.program == "bundled" and facts.backend in PLAIN_BACKENDS:
        return releases_for(None)[-1:]
    possible = releases_for(facts.deepep_version)
    if facts.backend == "deepep_v2" and facts.program == "bundled" and facts.deepep_version is None:
        return tuple(release for release in possible if release.has_v2)
    return possible


def _kernel(facts: RunFacts, release: Release) -> Kernel:
    if facts.program == "bundled":
        if facts.backend in PLAIN_BACKENDS:
            return Kernel.COLLECTIVE
        if facts.backend == "deepep_v2":
            return Kernel.V2
    if facts.arguments.mode == "low_latency":
        return Kernel.V1_LOW_LATENCY
    if facts.program == "bundled" and facts.backend == "deepep" and release.has_v2:
        return Kernel.V2
    return Kernel.V1_INTRANODE if facts.world_size <= GROUP else Kernel.V1_INTERNODE


def _problems(run: Run) -> Iterator[tuple[Rule, Problem]]:
    for rule in _rules(run.kernel, run.facts.program, run.release):
        for problem in rule.check(run):
            yield rule, problem


@cache
def _rules(kernel: Kernel, program: str, release: Release) -> tuple[Rule, ...]:
    return tuple(rule for rule in RULES if rule.applies(kernel, program, release))


def _finding(
    rule: Rule, problem: Problem, holding: list[Release], *, everywhere: bool, hopeless: bool, plain: bool
) -> Finding:
    severity = rule.severity
    versions = () if everywhere else tuple(release.version for release in holding)
    if versions and not hopeless and severity is Severity.ERROR:
        severity = Severity.WARNING
    return Finding(
        code=rule.code,
        slug=rule.slug,
        severity=severity,
        message=problem.message + (f" (with DeepEP {', '.join(versions)})" if versions else ""),
        key=problem.key,
        why=rule.limit.why if plain else f"{rule.limit.why} ({rule.limit.cited(holding[-1])})",
        fix=problem.fix,
        releases=versions,
    )
