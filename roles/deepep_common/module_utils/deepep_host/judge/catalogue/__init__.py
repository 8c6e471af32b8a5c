"""The error catalogue: lines that no log of a good run holds, what they mean, why they come, what helps.

Data only. Specific signatures come before general ones: a line is reported once, by the first that fits.
Sources are files and lines of DeepEP at commit dd758ca and NVSHMEM 3.4.5 unless named otherwise.
"""

from __future__ import annotations

from . import bundled, kernels, network, software
from .model import Group, Signature

GROUPS: tuple[Group, ...] = (
    bundled.PROGRAM,
    kernels.V1,
    kernels.V2,
    kernels.SOFTWARE,
    network.NVSHMEM,
    software.MEMORY,
    software.CUDA,
    software.LAUNCHER,
    software.OTHER,
)
"""In the order in which lines are tried."""

SIGNATURES: tuple[Signature, ...] = tuple(s for group in GROUPS for s in group.signatures)

__all__ = ["GROUPS", "SIGNATURES", "Group", "Signature"]
