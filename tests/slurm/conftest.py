"""One Slurm cluster per test process, shared by all tests of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from compiler.resources import host_code
from tests.cluster.conftest import need_lab
from tests.cluster.slurm import SlurmLab

host_code()


@pytest.fixture(scope="session")
def slurm_of_session() -> Iterator[SlurmLab]:
    """Six compute hosts, a login host with slurmctld, slurmdbd and MariaDB, and a registry."""
    need_lab()
    with SlurmLab(6, registry=True) as lab:
        yield lab


@pytest.fixture
def slurm(slurm_of_session: SlurmLab) -> SlurmLab:
    """The cluster with an empty queue and every host up."""
    slurm_of_session.repair()
    return slurm_of_session
