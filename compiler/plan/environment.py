"""The environment of a run's processes; the user's values win over ours."""

from __future__ import annotations

from collections.abc import Mapping

from compiler.inventory.model import Settings

DEFAULTS: Mapping[str, str] = {
    "OMP_NUM_THREADS": "1",  # as torchrun would set it, without its warning
    "PYTHONUNBUFFERED": "1",  # output is on disk when a rank is killed
}

_OF_INTERFACE = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME", "NVSHMEM_BOOTSTRAP_UID_SOCK_IFNAME")


def environment(settings: Settings, of_test: Mapping[str, str]) -> Mapping[str, str]:
    """Returns defaults, then the inventory's, then the test's variables; later ones win."""
    interface = settings.master_interface
    return {
        **DEFAULTS,
        **(dict.fromkeys(_OF_INTERFACE, interface) if interface else {}),
        **settings.env,
        **of_test,
    }
