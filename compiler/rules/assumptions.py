"""What a check assumes about the cluster, where inventory and image do not say it."""

from __future__ import annotations

from dataclasses import dataclass

RANKS_PER_HOST = 8
BACKEND = "deepep"
"""The inventory's own defaults."""


@dataclass(frozen=True, slots=True)
class Assumptions:
    """``backend`` and ``ranks_per_host`` take the place of the inventory's; None: nothing is assumed.

    ``deepep_version`` is the DeepEP package's version in the image.
    """

    backend: str | None = None
    deepep_version: str | None = None
    ranks_per_host: int | None = None

    @property
    def of_ranks(self) -> int | None:
        """Ranks per host to check with: a cluster's, where a backend is assumed."""
        if self.ranks_per_host is None and self.backend is not None:
            return RANKS_PER_HOST
        return self.ranks_per_host


NOTHING = Assumptions()
