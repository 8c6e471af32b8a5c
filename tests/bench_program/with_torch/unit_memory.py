"""Tensors and DeepEP's buffer share one memory."""

import unittest
from unittest import mock

from deepep_bench import memory
from deepep_bench.errors import RefusedError
from worlds import config, world


class Sum(unittest.TestCase):
    def test_each_may_fit_and_both_together_not(self) -> None:
        given, here = config(backend="deepep_v1", tokens=4096, hidden_size=7168), world()
        tensors = memory.bytes_needed(given, here)
        buffer = 2 * 10**9
        with mock.patch.object(memory, "bytes_free", return_value=tensors + buffer):
            memory.refuse_unless_it_fits(given, here, buffer)
        with mock.patch.object(memory, "bytes_free", return_value=max(tensors, buffer) + 1):
            memory.refuse_unless_it_fits(given, here)
            with self.assertRaisesRegex(
                RefusedError, r"of tensors, 2.00 GB for DeepEP's buffer\), free for it: "
            ):
                memory.refuse_unless_it_fits(given, here, buffer)

    def test_no_buffer_is_not_named(self) -> None:
        self.assertNotIn("buffer", memory.memory_text(config(), world()))
