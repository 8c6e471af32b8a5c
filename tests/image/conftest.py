"""Makes the hosts' code importable for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from compiler.resources import host_code

host_code()

from tests.image.registry_stand_in import StandIn, serve  # noqa: E402


@pytest.fixture
def registry() -> Iterator[StandIn]:
    with serve() as stand_in:
        yield stand_in
