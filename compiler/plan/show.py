"""A plan for people."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from compiler.diagnostics.wording import printable
from compiler.plan.model import Join, Plan, Run, Text, Variable
from compiler.plan.support import not_executable

_LONGEST = 400
"""Longer values are cut: plan.json has them whole."""


def lines(plan: Plan, *, explain_hosts: bool) -> Iterator[str]:
    """Yields the plan line by line, without anything that could confuse a terminal."""
    for run in plan.runs:
        yield from _run(run, explain_hosts)
        yield ""
    yield "schedule"
    for group in plan.groups_of_steps():
        yield "  " + ", ".join(f"{step.verb.value} {step.run}" for step in group)
    total = sum(run.time_limit_s for run in plan.runs)
    number = f"{len(plan.runs)} run{'' if len(plan.runs) == 1 else 's'}"
    hosts = f"{len(plan.hosts)} host{'' if len(plan.hosts) == 1 else 's'}"
    yield f"{number} on {hosts}, at most {duration(total)} besides staging and collecting"
    machines: dict[str, list[str]] = {}
    for name, host in plan.hosts.items():
        if host.one_machine is not None:
            machines.setdefault(host.one_machine, []).append(name)
    for label, names in machines.items():
        if len(names) > 1:
            yield f"{', '.join(names)} are one physical machine ({printable(label)})"
    for refused in not_executable(plan):
        yield printable(refused.message)


def duration(seconds: int) -> str:
    """Returns [D-]HH:MM:SS, as Slurm and CloudAI write it."""
    days, rest = divmod(seconds, 86400)
    text = f"{rest // 3600:02d}:{rest % 3600 // 60:02d}:{rest % 60:02d}"
    return f"{days}-{text}" if days else text


def _run(run: Run, explain_hosts: bool) -> Iterator[str]:
    yield f"{run.id}  {printable(run.test_name)}"
    yield f"  ranks        {len(run.hosts)} x {run.ranks_per_host} = {run.world_size}"
    yield f"  hosts        {', '.join(run.hosts)}"
    if explain_hosts:
        yield f"               {printable(run.why_hosts)}"
    yield f"  program      {run.program}, {run.mode} mode, backend {run.backend}"
    yield f"  container    {run.container_runtime}{_changes(run)}"
    if run.image is not None and run.image_source is not None:
        yield f"  image        {printable(run.image)}"
        if run.image_source.reference != run.image:
            yield f"               as {printable(run.image_source.reference)}"
    yield f"  time limit   {duration(run.time_limit_s)}"
    for after in run.after:
        yield f"  after        {after.type} {after.run}"
    for name, swept in run.sweep.items():
        yield f"  swept        {name} = {_short(str(swept))}"
    for name, asked in run.config_requested.items():
        yield f"  capped       {name} = {run.config[name]} (the test asks for {asked})"
    config = " ".join(f"{name}={_plain(value)}" for name, value in run.config.items())
    yield f"  config       {_short(config)}"
    for label, items in (
        ("environment", [f"{name}={_quoted(value)}" for name, value in run.env.items()]),
        ("mount", [_text(mount) for mount in run.mounts]),
    ):
        for item in items:
            yield f"  {label:<12} {_short(item)}"
    yield f"  command      {_short(' '.join(_text(part) for part in run.argv), 4 * _LONGEST)}"


def _changes(run: Run) -> str:
    """Returns how the inventory changes the container's defaults, as one more part of a line."""
    if run.container is None:
        return ""
    words = [] if run.container.privileged else ["not privileged"]
    words += ["with the image's entry point"] if run.container.entrypoint else []
    words += [f"without {name}" for name in run.container.without]
    words += [_quoted(option) for option in run.container.options]
    return "".join(f", {printable(word)}" for word in words)


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _quoted(text: str) -> str:
    return shlex.quote(text) if text else "''"


def _text(text: Text) -> str:
    if isinstance(text, Join):
        return "".join(f"<{part.value}>" if isinstance(part, Variable) else part for part in text.parts)
    return _quoted(text)


def _short(text: str, longest: int = _LONGEST) -> str:
    text = printable(text)
    return text if len(text) <= longest else f"{text[:longest]}… ({len(text)} characters)"
