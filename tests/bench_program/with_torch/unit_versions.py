"""Versions are those of the loaded libraries, and the same on all hosts."""

import unittest
from types import SimpleNamespace
from typing import Any
from unittest import mock

from deepep_bench import evidence
from deepep_bench.errors import RefusedError


class Loaded(unittest.TestCase):
    def test_nvshmem_is_asked_itself(self) -> None:
        def told(*numbers: Any) -> None:
            for number, value in zip(numbers, (3, 4, 5), strict=True):
                number._obj.value = value

        library = SimpleNamespace(nvshmemx_vendor_get_version_info=told)
        with mock.patch.object(evidence.ctypes, "CDLL", return_value=library) as opened:
            self.assertEqual(evidence._nvshmem("/lib/libnvshmem_host.so.3"), "3.4.5")
        opened.assert_called_once_with("/lib/libnvshmem_host.so.3")

    def test_an_older_one_tells_by_its_name(self) -> None:
        self.assertEqual(evidence._nvshmem("/nowhere/libnvshmem_host.so.3.2.5"), "3.2.5")
        self.assertIn("not told by", evidence._nvshmem("/nowhere/libnvshmem_host.so.3"))
        self.assertIsNone(evidence._nvshmem(None))


class Same(unittest.TestCase):
    def test_what_moves_tokens_must_be_the_same(self) -> None:
        here = {"nccl": "2.30.7", "nvshmem": "3.4.5", "kernel": "6.8.0"}
        self.assertEqual(evidence.refuse_unless_same([("node0", here), ("node1", dict(here))]), [])
        with self.assertRaisesRegex(RefusedError, "nvshmem is 3.4.5 on host node0 and 3.3.9 on host node2"):
            evidence.refuse_unless_same(
                [("node0", here), ("node1", here), ("node2", {**here, "nvshmem": "3.3.9"})]
            )

    def test_other_differences_are_told(self) -> None:
        found = evidence.refuse_unless_same([("node0", {"kernel": "6.8"}), ("node1", {"kernel": "6.5"})])
        self.assertEqual(found, ["kernel is 6.8 on host node0 and 6.5 on host node1"])
