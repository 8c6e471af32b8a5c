"""What V1's tuning tries: nothing that DeepEP would refuse, whatever the number of hosts."""

import types
import unittest
from typing import Any

from deepep_bench.backends.deepep_v1 import _Settings
from deepep_bench.backends.package import Package
from deepep_bench.errors import RefusedError
from deepep_bench.kernel_limits import limits_of
from deepep_bench.kernel_sizes import aligned, nvlink_buffer
from deepep_bench.tuning import SM_COUNTS

WARPS = 24  # csrc/kernels/internode.cu:1830 @ 9af0e0d


class Config:
    """csrc/config.hpp @ 9af0e0d."""

    def __init__(self, sms: int, nvl: int, nvl_queue: int, rdma: int = 6, rdma_queue: int = 128) -> None:
        self.sms, self.nvl, self.nvl_queue, self.rdma = sms, nvl, nvl_queue, rdma
        self.rdma_queue = aligned(rdma_queue, rdma)
        assert nvl < nvl_queue
        assert rdma < self.rdma_queue
        assert rdma <= self.rdma_queue // 2

    def get_nvl_buffer_size_hint(self, row: int, ranks: int) -> int:
        return nvlink_buffer(row // 2, ranks, self.sms, self.nvl_queue)

    def get_rdma_buffer_size_hint(self, row: int, ranks: int) -> int:
        if ranks <= 8:
            return 0
        token = row + 8 + 128 * 8 + 128 * 4 + 128 * 4 + 16
        return aligned(self.sms // 2 * (ranks // 8) * 2 * (18 * 4 + self.rdma_queue * token), 128)

    def check_combine(self, ranks: int) -> None:
        """csrc/kernels/internode.cu:1850-1858 @ 9af0e0d."""
        groups = ranks // 8
        warps = max(WARPS // groups, 1)
        assert self.nvl_queue % groups == 0
        assert self.nvl_queue // groups > max(self.rdma, self.nvl)
        assert self.nvl_queue // groups - warps >= self.nvl
        assert self.rdma >= warps


class Buffer:
    num_sms = 20

    @staticmethod
    def set_num_sms(sms: int) -> None:
        Buffer.num_sms = sms

    @staticmethod
    def get_dispatch_config(ranks: int) -> Config:
        queue = {96: 480, 128: 560, 144: 720, 160: 720}.get(ranks, 288 if ranks > 8 else 256)
        return Config(Buffer.num_sms, 8, queue, 8)

    get_combine_config = get_dispatch_config


def settings(ranks: int, version: str = "2.1.0", hidden: int = 7168) -> _Settings:
    module: Any = types.SimpleNamespace(Buffer=Buffer, Config=Config)
    return _Settings(Package(module, version, version >= "2", True), ranks, 2 * hidden)


def everything(made: _Settings, sms: list) -> list:
    return [
        (operation, made.config(operation, n, chunks))
        for n in sms
        for operation in ("dispatch", "combine")
        for chunks in made.chunks_to_try(operation, n)
    ]


class Tried(unittest.TestCase):
    def test_nothing_that_is_refused(self) -> None:
        for version in ("1.2.1", "2.1.0"):
            for groups in limits_of(version, version >= "2")["internode-groups"]:
                with self.subTest(version=version, groups=groups):
                    ranks = 8 * groups
                    made = settings(ranks, version)
                    sms = made.possible(list(SM_COUNTS), None)
                    self.assertIn(24, sms)
                    self.assertLessEqual(max(sms), 56)
                    tried = everything(made, sms)
                    self.assertGreater(len([each for each in tried if each[0] == "combine"]), 20)
                    for operation, config in tried:
                        self.assertLess(config.get_nvl_buffer_size_hint(14336, ranks), 2**31 - 1)
                        self.assertLess(config.get_rdma_buffer_size_hint(14336, ranks), 2**31 - 1)
                        if operation == "combine":
                            config.check_combine(ranks)

    def test_one_host_tries_what_its_test_tries(self) -> None:
        made = settings(8, "1.2.1")
        self.assertEqual(made.possible(list(SM_COUNTS), None), list(SM_COUNTS))
        self.assertEqual([each.nvl for each in made.chunks_to_try("dispatch", 64)], list(range(4, 33, 2)))
        self.assertEqual([each.nvl for each in made.chunks_to_try("combine", 64)], list(range(1, 17)))
        self.assertEqual(made.config("combine", 64, made.chunks_to_try("combine", 64)[0]).nvl_queue, 256)

    def test_wide_rows_and_few_queue_pairs_leave_less(self) -> None:
        self.assertEqual(settings(160, "1.2.1").possible(list(SM_COUNTS), None), [16, 24, 32])
        self.assertEqual(settings(16).possible(list(SM_COUNTS), 24), [16, 24, 48])
        with self.assertRaisesRegex(RefusedError, r"none of \[32\] SMs .* and 20 queue pairs"):
            settings(16).possible([32], 20)

    def test_the_largest_chunk_fits_where_the_queue_of_deepeps_test_is_too_short(self) -> None:
        made = settings(128)
        self.assertEqual(made.config("combine", 24, made.chunks_to_try("combine", 24)[-1]).nvl_queue, 528)
        self.assertEqual(max(each.rdma or 0 for each in made.chunks_to_try("combine", 24)), 32)
