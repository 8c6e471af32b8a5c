"""What links can carry at most, by the GPUs and NICs that a run's hosts have. Data and a look-up.

Above a limit a figure is a measurement error, not good news. Limits apply to what crossed the wire alone
(``wire_*``): logical figures count a rank's own share and may be higher.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from .hardware import Hardware


class NvLink(NamedTuple):
    """NVLink of a GPU model, GB/s per GPU and direction.

    ``nominal`` is what the vendor names and what ratios are taken to; ``ceiling`` is all bits that the links
    clock, which nothing can exceed.
    """

    model: str
    nominal: float
    ceiling: float
    source: str


NVLINKS = (
    NvLink("H800", 200.0, 212.5, "NVIDIA H800: 400 GB/s in both directions; 8 links of 26.5625 GB/s"),
    NvLink("A800", 200.0, 206.3, "NVIDIA A800: 400 GB/s in both directions; 8 links of 25.78 GB/s"),
    NvLink("H100 NVL", 300.0, 318.8, "NVIDIA H100 NVL datasheet: 600 GB/s in both directions"),
    NvLink(
        "H100 PCIe", 300.0, 318.8, "NVIDIA H100 PCIe datasheet: 600 GB/s in both directions over the bridge"
    ),
    NvLink(
        "H100", 450.0, 478.2, "NVIDIA H100 datasheet: 900 GB/s in both directions; 18 links of 26.5625 GB/s"
    ),
    NvLink(
        "H200", 450.0, 478.2, "NVIDIA H200 datasheet: 900 GB/s in both directions; 18 links of 26.5625 GB/s"
    ),
    NvLink("H20", 450.0, 478.2, "NVIDIA H20: 900 GB/s in both directions; 18 links of 26.5625 GB/s"),
    NvLink(
        "A100", 300.0, 309.4, "NVIDIA A100 datasheet: 600 GB/s in both directions; 12 links of 25.78 GB/s"
    ),
    NvLink("GB300", 900.0, 956.3, "NVIDIA Blackwell datasheet: 1800 GB/s in both directions; 18 links"),
    NvLink("GB200", 900.0, 956.3, "NVIDIA Blackwell datasheet: 1800 GB/s in both directions; 18 links"),
    NvLink("B300", 900.0, 956.3, "NVIDIA Blackwell datasheet: 1800 GB/s in both directions; 18 links"),
    NvLink("B200", 900.0, 956.3, "NVIDIA Blackwell datasheet: 1800 GB/s in both directions; 18 links"),
)
"""The first whose model stands in a GPU's name counts: longer names come before shorter ones."""

FASTEST_NVLINK = 956.3
"""Where the GPU is not known: NVLink 5, the fastest that there is."""

FASTEST_NIC = 100.0
"""Where the NICs' rates are not known: an 800 Gb/s NIC per GPU, the fastest that is known to run DeepEP."""


class Limit(NamedTuple):
    """Limit of one figure in GB/s per GPU and direction. ``nominal`` is None where the link is not known."""

    figure: str
    nominal: float | None
    ceiling: float
    source: str


def limits_of(hardware: Hardware) -> dict[str, Limit]:
    """Returns the limit of each wire figure on this hardware; of hosts that differ, the fastest's."""
    links = [link for name in hardware.gpus for link in [nvlink_of(name)] if link is not None]
    if links and len(links) == len(hardware.gpus):
        best = max(links, key=lambda link: link.ceiling)
        nvl = Limit("wire_nvl_bw", best.nominal, best.ceiling, best.source)
    else:
        nvl = Limit(
            "wire_nvl_bw", None, FASTEST_NVLINK, "the fastest NVLink known; the GPU's own is not known"
        )
    if hardware.nic_gb_s is not None and hardware.nic_ceiling_gb_s is not None:
        source = f"{hardware.nic_text} as the hosts report it"
        rdma = Limit("wire_rdma_bw", hardware.nic_gb_s, hardware.nic_ceiling_gb_s, source)
    else:
        rdma = Limit(
            "wire_rdma_bw", None, FASTEST_NIC, "an 800 Gb/s NIC per GPU; the NICs' own rate is not known"
        )
    return {limit.figure: limit for limit in (nvl, rdma)}


def nvlink_of(gpu: str) -> NvLink | None:
    """Returns NVLink of a GPU by its full name, None where the table lacks it."""
    for link in NVLINKS:
        if re.search(rf"(?<![A-Za-z0-9]){re.escape(link.model)}(?![0-9])", gpu):
            return link
    return None


def ratio_to_limit(figure: str, value: Any, limits: dict[str, Limit]) -> float | None:
    """Returns a wire figure over its link's nominal rate, None where either is not known."""
    limit = limits.get(figure)
    if (
        limit is None
        or limit.nominal is None
        or isinstance(value, bool)
        or not isinstance(value, (int, float))
    ):
        return None
    return value / limit.nominal
