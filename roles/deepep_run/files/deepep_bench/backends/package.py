"""The installed package deep_ep: imported only here, and only when a test wants it."""

from __future__ import annotations

import functools
import hashlib
import importlib
import inspect
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Mapping

from ..errors import RefusedError
from ..kernel_limits import Limits, limits_of


@dataclass(frozen=True)
class Package:
    """elastic: the module has V2's ElasticBuffer. stand_in: it is this project's CPU stand-in."""

    module: Any
    version: str
    elastic: bool
    stand_in: bool

    @property
    def limits(self) -> Limits:
        """What the kernels of this release can do."""
        return limits_of(self.version, self.elastic)

    def taken(
        self, function: Callable[..., object], given: Mapping[str, Any], idle: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Those arguments that this package's function has.

        idle: what a package does that lacks the argument, or what nobody asked for.
        :raises RefusedError: an argument is missing and something else was asked for
        """
        known = inspect.signature(function).parameters
        if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in known.values()):
            return dict(given)
        for name, value in given.items():
            if name not in known and not (name in idle and idle[name] == value):
                raise RefusedError(
                    f"{name} = {value}: {function.__qualname__} of the installed deep_ep ({self.version}) "
                    "has no such argument; use an image with a newer DeepEP, or do without it"
                )
        return {name: value for name, value in given.items() if name in known}

    def build(self) -> str:
        """Version, and a digest of what kernels are made from: one version may stand for many builds."""
        folder = Path(str(self.module.__file__)).parent
        sources = sorted(path for path in (folder / "include").rglob("*") if path.is_file())
        sources += sorted([*folder.glob("*.so"), *folder.parent.glob("deep_ep*.so")])
        found = hashlib.sha256()
        for path in sources:
            found.update(hashlib.sha256(path.read_bytes()).digest())
        return f"{self.version}-{found.hexdigest()[:12]}"


@functools.lru_cache(maxsize=None)
def load() -> Package:
    """Import deep_ep.

    :raises RefusedError: it is not installed, or cannot be loaded here
    """
    try:
        module = importlib.import_module("deep_ep")
    except ModuleNotFoundError as error:
        if error.name != "deep_ep":
            raise RefusedError(f"deep_ep is installed, but needs the missing module {error.name}") from None
        raise RefusedError(
            "this Python has no package deep_ep: run in an image that has DeepEP, or use backend nccl"
        ) from None
    except Exception as error:  # its libraries or its own checks: the text says which
        raise RefusedError(f"deep_ep cannot be imported: {type(error).__name__}: {error}") from None
    return Package(
        module, _version(module), hasattr(module, "ElasticBuffer"), bool(getattr(module, "STAND_IN", False))
    )


def _version(module: Any) -> str:
    """The wheel's version (which ends in +<commit> where it was built from a checkout), or what is known."""
    try:
        from importlib.metadata import version

        found = version("deep_ep")
    except Exception:  # no metadata: a folder on the path
        found = str(getattr(module, "__version__", "")) or "1.x, not told by the package"
    commit = os.environ.get("DEEPEP_COMMIT", "")
    return f"{found} (commit {commit})" if commit and commit not in found else found
