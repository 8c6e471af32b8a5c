"""``--selftest``: the benchmark on every host alone, with the arguments of a run that the host is in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from compiler.diagnostics.codes import finding
from compiler.diagnostics.model import Diagnostic, Severity
from compiler.inventory.model import Inventory
from compiler.rules.assumptions import Assumptions
from compiler.rules.runs import Point, RunRules
from compiler.scenario.model import Case, Entry

PREFIX = "selftest."
"""Begins the id of a self-test's entry; the host's name follows."""

WHY = "every host alone (--selftest)"


@dataclass(frozen=True, slots=True)
class SelfTest:
    """One host's test: where its arguments come from."""

    host: str
    entry: Entry
    case: Case


class SelfTests:
    """Gathers the runs of a plan, then chooses for each host one that is possible on it alone.

    Runs on most hosts come first, so that as many hosts as can be have the same arguments, to be compared.
    """

    def __init__(self, inventory: Inventory, assume: Assumptions) -> None:
        self._inventory = inventory
        self._assume = assume
        self._offers: list[tuple[Entry, Case, tuple[str, ...]]] = []
        self.findings: list[Diagnostic] = []

    def offer(self, entry: Entry, case: Case, hosts: tuple[str, ...]) -> None:
        """Takes one run into consideration."""
        self._offers.append((entry, case, hosts))

    def choose(self) -> Iterator[SelfTest]:
        """Yields one test for each host, in the order of the offers; adds findings where there is none."""
        for entry, _, _ in self._offers:
            if entry.id.startswith(PREFIX):
                text = f"{entry.id}: ids that begin with {PREFIX} are those of self-tests"
                self.findings.append(finding("selftest-impossible", text, entry.place))
                return
        given: dict[str, SelfTest] = {}
        for entry, case, hosts in sorted(self._offers, key=lambda offer: -len(offer[2])):
            open_hosts = [host for host in hosts if host not in given]
            alone = _alone(case)
            if open_hosts and self._possible(entry, alone, open_hosts[0]):
                given.update((host, SelfTest(host, entry, alone)) for host in open_hosts)
        wanted = dict.fromkeys(host for _, _, hosts in self._offers for host in hosts)
        missing = [host for host in wanted if host not in given]
        if missing:
            names = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
            text = f"no test of this scenario is possible on one host alone: {names}"
            self.findings.append(finding("selftest-impossible", text, self._offers[0][0].place))
        yield from (given[host] for host in wanted if host in given)

    def _possible(self, entry: Entry, case: Case, host: str) -> bool:
        settings = self._inventory.hosts[host].settings
        point = Point(
            case,
            1,
            settings.gpus_per_node,
            case.arguments.backend or settings.backend,
            settings.program,
            settings.container_runtime,
            settings.env,
        )
        found = RunRules(self._assume).of_entry(entry, [point])
        return all(one.severity is not Severity.ERROR for one in found)


def _alone(case: Case) -> Case:
    """Returns the case without what belongs to the sweep, and without the profiler: it is not looked at."""
    return replace(
        case, step=None, sweep={}, num_nodes=1, arguments=replace(case.arguments, use_kineto_profiler=False)
    )
