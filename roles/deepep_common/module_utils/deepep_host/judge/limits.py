"""What links can carry at most. Above it a figure is a measurement error, not good news."""

from __future__ import annotations

LINK_LIMITS_GB_S = {"wire_nvl_bw": 900.0, "wire_rdma_bw": 100.0}
"""GB/s per GPU and direction of the fastest known links: NVLink 5 (NVIDIA Blackwell datasheet) and an
800 Gb/s NIC. They apply to what crossed the wire alone: logical figures may be higher."""
