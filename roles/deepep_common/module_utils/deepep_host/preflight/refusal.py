"""Which runs may not start after a preflight, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .model import FAIL
from .needs import needs_of


def refusal(
    run: Mapping[str, Any],
    hosts: Mapping[str, Mapping[str, Any] | None],
    across: Sequence[Mapping[str, Any]] = (),
) -> str | None:
    """Returns why ``run`` may not start, None where nothing is against it.

    ``hosts``: the preflight of each host (None: there was none, which is against nothing). A failed check
    counts only for runs that need what it asks for.
    """
    needs = needs_of(run)
    for member in run["hosts"]:
        found = hosts.get(member["name"])
        texts = _failed(found["checks"] if found else (), run["id"], needs)
        if texts:
            return f"host {member['name']} did not pass its preflight: {'; '.join(texts)}"
    for group in across:
        if run["id"] in group["runs"]:
            texts = _failed(group["checks"], run["id"], needs)
            if texts:
                return f"its hosts do not fit together: {'; '.join(texts)}"
    return None


def _failed(checks: Iterable[Mapping[str, Any]], run: str, needs: frozenset[str]) -> list[str]:
    return [
        str(line["text"])
        for line in checks
        if line["result"] == FAIL
        and needs.intersection(line.get("needs") or ("host",))
        and run in line.get("runs", (run,))
    ]


def different_images(notes: Mapping[str, Mapping[str, Any] | None]) -> str | None:
    """Returns that the hosts of a run hold different images, None where they do not.

    ``notes``: what staging said of the run's image on each host. A tag may have moved between two pulls.
    """
    digests: dict[str, list[str]] = {}
    for host, note in notes.items():
        if note and note.get("digest"):
            digests.setdefault(str(note["digest"]), []).append(host)
    if len(digests) < 2:
        return None
    texts = [f"{digest} on {', '.join(hosts)}" for digest, hosts in digests.items()]
    return f"its hosts hold different images: {'; '.join(texts)}"
