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

    ``rate`` is what the vendor names. It is also what coding leaves of the bits that the links clock, so that
    nothing exceeds it: 25.78 GB/s by 64/66 (NVLink 3) and 26.56 GB/s by 514/544 and 256/257 (NVLink 4) are
    25 GB/s a link.
    """

    model: str
    rate: float
    source: str


NVLINKS = (
    NvLink("H800", 200.0, "NVIDIA H800: 400 GB/s in both directions; 8 links of 25 GB/s"),
    NvLink("A800", 200.0, "NVIDIA A800: 400 GB/s in both directions; 8 links of 25 GB/s"),
    NvLink("GH200", 450.0, "NVIDIA GH200 datasheet: 900 GB/s in both directions; 18 links of 25 GB/s"),
    NvLink("H100 NVL", 300.0, "NVIDIA H100 NVL datasheet: 600 GB/s in both directions"),
    NvLink("H100 PCIe", 300.0, "NVIDIA H100 PCIe datasheet: 600 GB/s in both directions over the bridge"),
    NvLink("H100", 450.0, "NVIDIA H100 datasheet: 900 GB/s in both directions; 18 links of 25 GB/s"),
    NvLink("H200", 450.0, "NVIDIA H200 datasheet: 900 GB/s in both directions; 18 links of 25 GB/s"),
    NvLink("H20", 450.0, "NVIDIA H20: 900 GB/s in both directions; 18 links of 25 GB/s"),
    NvLink("A100", 300.0, "NVIDIA A100 datasheet: 600 GB/s in both directions; 12 links of 25 GB/s"),
    NvLink("A30", 100.0, "NVIDIA A30 datasheet: 200 GB/s in both directions over the bridge"),
    NvLink("GB300", 900.0, "NVIDIA Blackwell datasheet: 1800 GB/s in both directions; 18 links of 50 GB/s"),
    NvLink("GB200", 900.0, "NVIDIA Blackwell datasheet: 1800 GB/s in both directions; 18 links of 50 GB/s"),
    NvLink("B300", 900.0, "NVIDIA Blackwell datasheet: 1800 GB/s in both directions; 18 links of 50 GB/s"),
    NvLink("B200", 900.0, "NVIDIA Blackwell datasheet: 1800 GB/s in both directions; 18 links of 50 GB/s"),
    NvLink("B100", 900.0, "NVIDIA Blackwell datasheet: 1800 GB/s in both directions; 18 links of 50 GB/s"),
)
"""The first whose model stands in a GPU's name counts: longer names come before shorter ones."""

FASTEST_NVLINK = 1800.0
"""Where the GPU is not known: NVLink 6, the fastest that was announced."""

FASTEST_NIC = 100.0
"""Where the NICs' rates are not known: an 800 Gb/s NIC per GPU, the fastest that is known to run DeepEP."""


class Limit(NamedTuple):
    """What one figure cannot exceed, in GB/s per GPU and direction: of ratio and verdict alike.

    ``known``: the link is; else the limit is that of the fastest there is, and no ratio is taken to it.
    """

    figure: str
    rate: float
    known: bool
    source: str


def limits_of(hardware: Hardware) -> dict[str, Limit]:
    """Returns the limit of each wire figure on this hardware; of hosts that differ, the fastest's."""
    links = [link for name in hardware.gpus for link in [nvlink_of(name)] if link is not None]
    if links and len(links) == len(hardware.gpus):
        best = max(links, key=lambda link: link.rate)
        nvl = Limit("wire_nvl_bw", best.rate, True, best.source)
    else:
        source = "the fastest NVLink announced; the GPU's own is not known"
        nvl = Limit("wire_nvl_bw", FASTEST_NVLINK, False, source)
    if hardware.nic_gb_s is not None:
        source = f"{hardware.nic_text} as the hosts report it"
        rdma = Limit("wire_rdma_bw", hardware.nic_gb_s, True, source)
    else:
        source = "an 800 Gb/s NIC per GPU; the NICs' own rate is not known"
        rdma = Limit("wire_rdma_bw", FASTEST_NIC, False, source)
    return {limit.figure: limit for limit in (nvl, rdma)}


def nvlink_of(gpu: str) -> NvLink | None:
    """Returns NVLink of a GPU by its full name, None where the table lacks it."""
    for link in NVLINKS:
        if re.search(rf"(?<![A-Za-z0-9]){re.escape(link.model)}(?![0-9])", gpu):
            return link
    return None


def ratio_to_limit(figure: str, value: Any, limits: dict[str, Limit]) -> float | None:
    """Returns a wire figure over its limit, None where either is not known."""
    limit = limits.get(figure)
    if limit is None or not limit.known or isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value / limit.rate
