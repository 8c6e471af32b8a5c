"""What tuning keeps, and what it tells."""

import unittest

from deepep_bench.errors import RefusedError
from deepep_bench.kernel_chunks import Chunks
from deepep_bench.tuning import Candidate, best


class Best(unittest.TestCase):
    def test_both_operations_get_the_same_number_of_sms(self) -> None:
        tuned = best(
            [
                Candidate("dispatch", 24, None, 5.0),
                Candidate("dispatch", 24, "8", 4.0),
                Candidate("combine", 24, None, 9.0),
                Candidate("dispatch", 32, "6", 3.0),  # the fastest dispatch, but the sum is not
                Candidate("combine", 32, None, 11.0),
            ]
        )
        self.assertEqual((tuned.num_sms, tuned.dispatch_chunks, tuned.combine_chunks), (24, "8", None))
        self.assertEqual(tuned.to_json()["reuse"], {"num_sms": 24, "dispatch_chunks": "8"})
        self.assertEqual(len(tuned.to_json()["candidates"]), 5)

    def test_a_number_of_sms_needs_both(self) -> None:
        whole = [Candidate("dispatch", 24, None, 5.0), Candidate("combine", 24, None, 9.0)]
        self.assertEqual(best([*whole, Candidate("dispatch", 32, None, 1.0)]).num_sms, 24)
        with self.assertRaisesRegex(RefusedError, "none of the settings"):
            best(whole[:1])

    def test_chunks_are_read_as_they_are_written(self) -> None:
        for text in ("16", "20/16"):
            self.assertEqual(str(Chunks.parse(text)), text)
        self.assertIsNone(Chunks.parse(None))
