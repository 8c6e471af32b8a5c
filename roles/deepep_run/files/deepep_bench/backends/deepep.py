"""``deepep``: whichever DeepEP is installed."""

from __future__ import annotations

from ..config import Config
from . import package
from .base import Backend
from .deepep_base import DeepEPBase


class DeepEPBackend(DeepEPBase):
    """A name only: V2 for standard mode where the package has it, else V1."""

    name = "deepep"

    @classmethod
    def resolve(cls, config: Config) -> type[Backend]:
        if config.mode == "standard" and package.load().elastic:
            from .deepep_v2 import DeepEPV2Backend

            return DeepEPV2Backend
        from .deepep_v1 import DeepEPV1Backend

        return DeepEPV1Backend
