"""Plan + Inventory -> the texts of a bundle's playbooks, inventory, configuration and README."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from compiler.emit import slurm, yaml_text
from compiler.inventory.model import Inventory
from compiler.plan.model import Plan, Run, SlurmPlan, Step, Verb

HOSTS = "inventory/hosts.yml"
_TEMPLATES = Path(__file__).with_name("templates")
_FEWEST_FORKS = 5
_LONGEST_LINE = 80
_MOST_FILES = 200
_RUNS = "runs"
_SELFTEST = "runs/selftest.yml"
_ON_THE_HOST = (
    "container_runtime", "python", "work_dir", "jit_cache_dir", "master_interface", "master_address",
)  # fmt: skip
"""Settings that roles read on each host; the others are in the plan."""


@dataclass(frozen=True, slots=True)
class Play:
    """One play of a run's playbook: some verbs of one run on its hosts, then perhaps its collection."""

    run: str
    hosts: tuple[str, ...]
    verbs: tuple[str, ...]
    finish: bool
    stopped_by: str | None
    """The run with which this one ends, where it is stopped."""

    @property
    def name(self) -> str:
        """What the play does, for Ansible's output."""
        words = [*self.verbs, *(["collect"] if self.finish else [])]
        sentence = " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
        return f"{sentence.capitalize()} {self.run}"


def render(plan: Plan, inventory: Inventory | None) -> Iterator[tuple[str, str]]:
    """Yields path in the bundle and text of each file that is made for this plan, but for ``plan.json``.

    Without an inventory its file is not among them, nor are job scripts.
    """
    for path, text in _render(plan, inventory):
        yield path, _allow_long(text) if path.endswith(".yml") else text


def _allow_long(text: str) -> str:
    """Returns YAML with a note for yamllint where a name in it makes a line long."""
    if all(len(line) <= _LONGEST_LINE for line in text.splitlines()):
        return text
    return f"# yamllint disable rule:line-length\n{text}"


def _render(plan: Plan, inventory: Inventory | None) -> Iterator[tuple[str, str]]:
    environment = Environment(  # noqa: S701  (YAML and text, nothing here is HTML)
        loader=FileSystemLoader(_TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(key=yaml_text.key, value=yaml_text.value)
    environment.globals["version"] = plan.compiler_version
    files = list(_files(list(plan.groups_of_steps())))
    if plan.slurm is not None:
        files = [(f"{_RUNS}/0001.yml", list(plan.steps))]
    shown = [{"path": path, "name": _title(steps)} for path, steps in files]
    if plan.selftest:
        shown.insert(0, {"path": _SELFTEST, "name": "Run every host alone"})
        tried = list(plan.selftest)
        yield _SELFTEST, environment.get_template("selftest.yml.j2").render(hosts=tried)

    # The hosts that Ansible talks to.
    hosts = [plan.slurm.login] if plan.slurm else list(plan.hosts)
    yield (
        "ansible.cfg",
        environment.get_template("ansible.cfg.j2").render(forks=max(len(hosts), _FEWEST_FORKS)),
    )
    if inventory is not None:
        yield (
            HOSTS,
            environment.get_template("hosts.yml.j2").render(**_inventory(plan, inventory)),
        )
    common = {
        "scenario": plan.scenario,
        "hosts": hosts,
        "runs": len(plan.runs),
        "slurm": plan.slurm is not None,
        "compute_hosts": len(plan.hosts),
    }
    yield (
        "site.yml",
        environment.get_template("site.yml.j2").render(
            **common,
            images=any(run.container_runtime != "none" for run in plan.runs),
            files=shown,
        ),
    )
    yield (
        "README.md",
        environment.get_template("README.md.j2").render(
            **common,
            stand_ins=sorted({run.backend for run in plan.runs if not run.backend.startswith("deepep")}),
        ),
    )
    for name in ("stop.yml", "collect.yml", "cleanup.yml", "look.yml", "adopt.yml", "preflight.yml"):
        yield name, environment.get_template(f"{name}.j2").render(**common)
    if plan.slurm is not None:
        yield files[0][0], environment.get_template("slurm_run.yml.j2").render(**common)
        if inventory is not None:
            yield from slurm.scripts(plan, inventory, environment)
        return
    of_run = {run.id: run for run in plan.runs}
    template = environment.get_template("run.yml.j2")
    for path, steps in files:
        yield path, template.render(plays=list(_plays(steps, of_run)))


def _files(groups: list[tuple[Step, ...]]) -> Iterator[tuple[str, list[Step]]]:
    """Yields path and steps of each playbook: one per run (or overlapping runs), or more in each of many."""
    together = -(-len(groups) // _MOST_FILES)
    for number, first in enumerate(range(0, len(groups), together), 1):
        yield (
            f"{_RUNS}/{number:04d}.yml",
            [step for group in groups[first : first + together] for step in group],
        )


def _inventory(plan: Plan, inventory: Inventory) -> dict[str, object]:
    if plan.slurm is not None:
        return _login(plan.slurm, inventory)
    hosts = []
    groups: dict[str, list[str]] = {}
    for name in plan.hosts:
        host = inventory.hosts[name]
        own = {
            f"deepep_{key}": text for key in _ON_THE_HOST if (text := getattr(host.settings, key)) is not None
        }
        hosts.append({"name": name, "variables": {**host.variables, **own}})
    for group, members in inventory.groups.items():
        used = [name for name in members if name in plan.hosts]
        if used and group != "ungrouped":
            groups[group] = used
    return {"hosts": hosts, "groups": groups}


_CONTROLLER = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
"""How Ansible reaches a login host that the inventory does not have: it is the controller itself."""


def _login(slurm_plan: SlurmPlan, inventory: Inventory) -> dict[str, object]:
    """Returns the login host alone: Ansible never connects to the compute hosts."""
    host = inventory.hosts.get(slurm_plan.login)
    variables = dict(host.variables) if host else dict(_CONTROLLER)
    variables["deepep_launcher"] = "slurm"
    root = slurm_plan.shared_dir or (host.settings.work_dir if host else slurm_plan.work_dir)
    if root is not None and slurm_plan.shared_dir is None:
        variables["deepep_work_dir"] = root
    return {"hosts": [{"name": slurm_plan.login, "variables": variables}], "groups": {}}


def _title(steps: Sequence[Step]) -> str:
    runs = list(dict.fromkeys(step.run for step in steps))
    shown = ", ".join(runs[:3]) + (f" and {len(runs) - 3} more" if len(runs) > 3 else "")
    return f"Run {shown}"


def _plays(steps: Sequence[Step], runs: Mapping[str, Run]) -> Iterator[Play]:
    """Yields the plays: consecutive steps of one run make one."""
    start = 0
    for index, step in enumerate(steps, 1):
        if index == len(steps) or steps[index].run != step.run or step.verb is Verb.FINISH:
            part = steps[start:index]
            verbs = tuple(one.verb.value for one in part if one.verb is not Verb.FINISH)
            enders = [after.run for after in runs[step.run].after if after.type == "end_post_comp"]
            stopped_by = enders[0] if Verb.STOP.value in verbs and enders else None
            yield Play(step.run, runs[step.run].hosts, verbs, part[-1].verb is Verb.FINISH, stopped_by)
            start = index
