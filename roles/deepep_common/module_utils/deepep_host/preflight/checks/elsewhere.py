"""What a preflight cannot tell: said on every host that would need it, so that nobody takes it for passed."""

from __future__ import annotations

from ..machine import Machine, Wanted
from ..model import Outcome, unknown


def image(machine: Machine, wanted: Wanted) -> Outcome:
    """Replaced by what :mod:`..image` finds."""
    return unknown("an image is looked into once it is staged")


def pairs(machine: Machine, wanted: Wanted) -> Outcome:
    """Measuring every pair takes longer than the benchmark."""
    return unknown(
        "nobody measures each pair of hosts; the figures of the run show a slow one", "ib_write_bw"
    )


def bus(machine: Machine, wanted: Wanted) -> Outcome:
    """Readable for root alone, or by vendor tools."""
    return unknown(
        "it takes root and vendor tools to read these",
        "as root: lspci -vvv | grep ACSCtl, mlxconfig -d DEVICE query PCI_ATOMIC_MODE",
    )


def fabric(machine: Machine, wanted: Wanted) -> Outcome:
    """Set on the switches."""
    return unknown("properties of the fabric, which no host can tell", "ask who runs the switches")
