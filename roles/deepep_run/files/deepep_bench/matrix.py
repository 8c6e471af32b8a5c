"""The two token matrices, as plain numbers that numpy.loadtxt reads; comment lines start with #."""

from __future__ import annotations

from .routing import Routing

BYTES_PER_KB = 1000


def token_matrix(routings: list[Routing]) -> str:
    """One row per token of the whole world, ranks in order: its experts, best first."""
    tokens, topk = routings[0].topk_idx.shape
    lines = [
        f"# Experts of each token. {len(routings) * tokens} rows: rank 0's {tokens}, then rank 1's ...",
        f"# {topk} columns: the selected experts (global, from 0), highest score first.",
    ]
    for routing in routings:
        lines += [" ".join(map(str, row)) for row in routing.topk_idx.tolist()]
    return "\n".join(lines) + "\n"


def token_matrix_kb(rows: list[list[int]], row_bytes: int) -> str:
    """One row per source rank, one column per destination rank: kB of one dispatch."""
    lines = [
        f"# Data sent in one dispatch, in kB (1 kB = {BYTES_PER_KB} bytes): {row_bytes} bytes per copy.",
        f"# {len(rows)} rows: source ranks; as many columns: destination ranks, the own rank included.",
    ]
    lines += [" ".join(f"{count * row_bytes / BYTES_PER_KB:.3f}" for count in row) for row in rows]
    return "\n".join(lines) + "\n"
