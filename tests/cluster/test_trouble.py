"""What a host says about its own trouble is not somebody else's on the same machine."""

from __future__ import annotations

import pytest

from tests.cluster.lab import REPOSITORY, Lab
from tests.cluster.machine import Host

pytestmark = pytest.mark.cluster

KILLS = """
import sys
sys.path.insert(0, sys.argv[1])
from deepep_host import trouble
print(trouble.out_of_memory_kills())
"""


def kills(host: Host) -> int:
    """Returns how many kills for want of memory a process on the host counts as its own."""
    modules = REPOSITORY / "roles" / "deepep_common" / "module_utils"
    return int(host.run("/usr/bin/python3", "-B", "-c", KILLS, modules).stdout)


def test_memory_that_ran_out_elsewhere_on_the_machine_is_not_a_hosts_own(lab: Lab) -> None:
    one, other = lab.hosts[:2]
    before, before_other = kills(one), kills(other)
    one.limit_memory(192 << 20)
    try:
        one.run("/usr/bin/python3", "-c", "x = b'1' * (1 << 30)", check=False)
    finally:
        one.limit_memory(None)
    assert kills(one) > before
    assert kills(other) == before_other
