"""Which GPUs and NICs the hosts of a run have, from their metadata files.

Python 3.8 cannot read TOML; these files are written by this project line by line, and only a few keys of them
are needed here, so that a reader for exactly that form is enough.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*Gb")
_TABLE = re.compile(r"^\[\[?([^\]]+)\]\]?\s*$")


PREFLIGHT = "preflight"
"""Folder of a session that has what each host said before the runs: ``<host>.json``."""

_PORT = re.compile(r"([^/]+)/\d+: ACTIVE, .*?(\d+(?:\.\d+)?)\s*Gb")


class Hardware(NamedTuple):
    """GPU and CPU models of all hosts (each once), and what the NICs of a GPU carry, in GB/s.

    ``nic_gb_s`` is what a GPU gets where the NICs are shared out evenly, as preflight proposes it: one to
    spare serves nobody. ``nic_gbit_s`` is the rate of one port in Gb/s. None: not known.
    """

    gpus: tuple[str, ...]
    cpus: tuple[str, ...]
    nic_gb_s: float | None
    nic_gbit_s: float | None
    nic_text: str


def read_hardware(paths: Iterable[Path], preflight: Path | None = None) -> Hardware:
    """Returns what the metadata files of a run's hosts say; what cannot be read says nothing.

    ``preflight`` is the session's folder of that name, which knows the adapters that runs use: the others are
    for storage or management. Without it the slower ones are taken for such.
    """
    gpus: dict[str, None] = {}
    cpus: dict[str, None] = {}
    rates: list[float] = []
    per_gpu: list[int] = []
    unknown = False
    for path in paths:
        names: list[str] = []
        arch = ""
        links: list[float] = []
        ports: list[tuple[str, float]] = []
        for table, key, value in _pairs(path):
            if table == "gpus" and key == "name" and isinstance(value, str):
                names.append(value)
            elif (table, key) == ("system", "gpu_arch_type") and isinstance(value, str) and value != "null":
                arch = value
            elif (table, key) == ("system", "cpu_model_name") and isinstance(value, str):
                cpus[value] = None
            elif (table, key) == ("network", "infiniband_rates") and isinstance(value, list):
                links = [float(m.group(1)) for text in value for m in [_RATE.search(str(text))] if m]
            elif (table, key) == ("network", "infiniband_ports") and isinstance(value, list):
                found = (_PORT.match(str(text)) for text in value)
                ports = [(m.group(1), float(m.group(2))) for m in found if m]
        gpus.update(dict.fromkeys(names or ([arch] if arch else [])))
        if links:
            used = _used_adapters(preflight, path) if ports else frozenset()
            links = [rate for name, rate in ports if name in used] or links
            rates.append(max(links))
            per_gpu.append(max(1, links.count(max(links)) // max(len(names), 1)) if names else 1)
        else:
            unknown = True
    if unknown or not per_gpu:
        return Hardware(tuple(gpus), tuple(cpus), None, None, "")
    usual = max(rate * number for rate, number in zip(rates, per_gpu))
    return Hardware(tuple(gpus), tuple(cpus), usual / 8, max(rates), f"{usual:g} Gb/s per GPU")


def _used_adapters(preflight: Path | None, metadata: Path) -> frozenset[str]:
    """Returns the adapters that preflight chose for a host's runs; empty where it does not say."""
    if preflight is None:
        return frozenset()
    host = metadata.stem[len("node-") :]
    try:
        value = json.loads((preflight / f"{host}.json").read_text(encoding="utf-8"))
        adapters = value["facts"]["adapters"]
        return frozenset(str(one["name"]) for one in adapters if one["active"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return frozenset()


def with_gpu(hardware: Hardware, records: Iterable[Mapping[str, Any]]) -> Hardware:
    """Returns the hardware with the GPUs that the records name, where the hosts' metadata know none."""
    if hardware.gpus:
        return hardware
    named = dict.fromkeys(str(record["gpu"]) for record in records if isinstance(record.get("gpu"), str))
    return hardware._replace(gpus=tuple(named))


def _pairs(path: Path) -> Iterator[tuple[str, str, Any]]:
    """Yields (table, key, value) of simple lines; values are JSON, as this project writes them."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    table = ""
    for line in lines:
        header = _TABLE.match(line)
        if header:
            table = header.group(1)
            continue
        key, found, text = line.partition(" = ")
        if not found:
            continue
        try:
            yield table, key.strip('"'), json.loads(text)
        except ValueError:
            continue
