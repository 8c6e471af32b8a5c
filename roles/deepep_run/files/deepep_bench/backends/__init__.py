"""Which backends there are, by the names that inventories and tests use."""

from __future__ import annotations

from ..errors import RefusedError
from .base import Backend

# name -> (module, class); imported only when chosen, since a backend may need packages of its own
_KNOWN: dict[str, tuple[str, str]] = {
    "gloo": ("collective", "GlooBackend"),
    "nccl": ("collective", "NcclBackend"),
    "deepep": ("deepep", "DeepEPBackend"),
    "deepep_v1": ("deepep_v1", "DeepEPV1Backend"),
    "deepep_v2": ("deepep_v2", "DeepEPV2Backend"),
}


def backend_class(name: str) -> type[Backend]:
    """The class of that name.

    :raises RefusedError: unknown
    """
    if name not in _KNOWN:
        raise RefusedError(f"backend = {name!r} is unknown; known: {', '.join(_KNOWN)}")
    module_name, class_name = _KNOWN[name]
    module = __import__(f"{__name__}.{module_name}", fromlist=[class_name])
    found: type[Backend] = getattr(module, class_name)
    return found
