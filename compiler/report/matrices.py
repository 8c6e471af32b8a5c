"""The token matrices of a run: who sent how much to whom, and how busy each expert was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from compiler.report.model import Links, Matrix
from compiler.report.values import mapping, number, read_json, text

LARGEST_SHOWN = 64
"""Ranks up to which the page shows the whole matrix; above, it shows the sums between hosts."""

LARGEST_FILE = 64 << 20
"""Bytes up to which a token matrix is read for the page."""


def read_traffic(path: Path, world_size: int, hosts: Sequence[str], ranks_per_host: int) -> Matrix | None:
    """Returns token_matrix_kb.txt (world x world), or None where it is missing or of another shape."""
    rows = _rows(path)
    if rows is None or len(rows) != world_size or any(len(row) != world_size for row in rows):
        return None
    try:
        values = [[float(cell) for cell in row] for row in rows]
    except ValueError:
        return None
    if world_size <= LARGEST_SHOWN:
        return _scaled(values, [str(rank) for rank in range(world_size)], of_hosts=False)
    blocks = [range(n * ranks_per_host, (n + 1) * ranks_per_host) for n in range(len(hosts))]
    sums = [[sum(values[i][j] for i in source for j in target) for target in blocks] for source in blocks]
    return _scaled(sums, list(hosts), of_hosts=True)


def read_expert_load(path: Path, num_experts: int) -> list[int]:
    """Returns how many selections each expert got by token_matrix.txt, nothing where it does not say."""
    rows = _rows(path)
    if not rows or num_experts <= 0:
        return []
    counted = Counter(cell for row in rows for cell in row)
    try:
        loads = {int(cell): count for cell, count in counted.items()}
    except ValueError:
        return []
    if min(loads) < 0 or max(loads) >= num_experts:
        return []
    return [loads.get(expert, 0) for expert in range(num_experts)]


def read_links(path: Path, world_size: int) -> Links | None:
    """Returns links.json, None where it is missing or not of so many ranks."""
    found = mapping(read_json(path))
    times, hosts, size = found.get("time_s"), found.get("hosts"), number(found.get("bytes"))
    if not isinstance(times, list) or not isinstance(hosts, list) or not size or len(hosts) != world_size:
        return None
    if len(times) != world_size or any(not isinstance(row, list) or len(row) != world_size for row in times):
        return None
    cells = [[number(cell) for cell in row] for row in times]
    return Links(text(found.get("method")), text(found.get("group")), size, [text(h) for h in hosts], cells)


def _scaled(values: list[list[float]], labels: list[str], *, of_hosts: bool) -> Matrix:
    """Returns a matrix given in kB in a unit that keeps its largest figure short."""
    largest = max(max(row) for row in values)
    for unit, factor in (("kB", 1.0), ("MB", 1e3), ("GB", 1e6)):
        if largest < 1000 * factor or unit == "GB":
            break
    return Matrix([[value / factor for value in row] for row in values], labels, unit, of_hosts)


def _rows(path: Path) -> list[list[str]] | None:
    """Returns the cells of a text matrix; lines that begin with ``#`` are comments."""
    try:
        if path.stat().st_size > LARGEST_FILE:
            return None
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return None
    return [line.split() for line in lines if line.strip() and not line.startswith("#")]
