"""Conditions around each part, from an nvidia-smi that says what a recorded one said, with other numbers."""

import os
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from deepep_bench import report, throttling
from deepep_bench.gpu import GpuWatch

RECORDED = (
    Path(__file__).parents[2] / "preflight" / "recorded" / "h100-x4" / "commands" / "nvidia-smi_-q_-x.out"
).read_text()
GPU = "GPU-00000000-0000-0000-0000-000000000000"
NVIDIA_SMI = """#!/bin/sh
cd "$(dirname "$0")"
case "$*" in
  *--loop-ms*) exec sleep 600 ;;
  *--query-gpu=index*) echo "0, NVIDIA H100 80GB HBM3, UUID, 1, 580.159.04, 00000000:00:06.0, 1980, 700.00" ;;
  *--query-gpu=uuid*) [ ! -e sample ] || cat sample ;;
  *-x*) cat xml ;;
esac
"""


class Counters(unittest.TestCase):
    def test_as_recorded(self) -> None:
        found = throttling.counters(RECORDED)
        self.assertEqual(len(found), 4)
        nothing = dict.fromkeys(("power cap", "too hot (software)", "too hot (hardware)", "power brake"), 0.0)
        self.assertEqual(found[GPU], nothing)
        self.assertEqual(throttling.counters("Unable to determine the device handle"), {})

    def test_a_driver_that_does_not_count(self) -> None:
        self.assertEqual(throttling.counters(RECORDED.replace("reasons_counters>", "reasons_of_old>")), {})

    def test_what_is_too_short_to_matter(self) -> None:
        self.assertEqual(throttling.reasons([], {"power cap": 0.01, "part": 10.0}), [])
        self.assertEqual(
            throttling.reasons([], {"power cap": 2.0, "part": 10.0}), ["power cap (2.00 s of 10.00 s)"]
        )
        self.assertEqual(throttling.reasons(["hardware slowdown"], None), ["hardware slowdown"])

    def test_masks(self) -> None:
        self.assertEqual(throttling.active(["0x0000000000000004", "[N/A]", "0x1"]), ["power cap"])


class Parts(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        program = self.folder / "nvidia-smi"
        program.write_text(NVIDIA_SMI.replace("UUID", GPU))
        program.chmod(0o700)
        self.tell(RECORDED)
        path = mock.patch.dict(os.environ, PATH=f"{self.folder}:{os.environ['PATH']}")
        path.start()
        self.addCleanup(path.stop)

    def tell(self, xml: str, mask: str = "0x0", samples: bool = True) -> None:
        (self.folder / "xml").write_text(xml)
        (self.folder / "sample").unlink(missing_ok=True)
        if samples:
            (self.folder / "sample").write_text(f"{GPU}, 1980, 2619, 45, 200.5, {mask}\n")

    def watch(self) -> GpuWatch:
        watch = GpuWatch()
        watch.before()
        watch.start()
        self.addCleanup(watch.stop)
        return watch

    def conditions(self, watch: GpuWatch) -> dict:
        return watch.conditions("node0", {GPU}, set())

    def test_a_part_is_marked_that_was_throttled_between_two_samples(self) -> None:
        watch = self.watch()
        with watch.part("during"):
            pass
        with watch.part("own_test"):
            self.tell(RECORDED.replace("_sw_power_cap>0 us<", "_sw_power_cap>90000000 us<", 1))
        found = self.conditions(watch)
        self.assertEqual(list(found["marks_by_part"]), ["own_test"])
        [mark] = found["marks_by_part"]["own_test"]
        self.assertIn("GPU 0 of node0 was throttled while it was timed as DeepEP's own test", mark)
        self.assertIn(": power cap (90.00 s of ", mark)
        [gpu] = found["gpus"]
        self.assertEqual(gpu["during"]["throttled_s"]["power cap"], 0.0)
        self.assertEqual((gpu["during"]["samples"], gpu["own_test"]["sm_clock_mhz"]), (1, [1980.0, 1980.0]))

    def test_what_is_seen_counts_too(self) -> None:
        watch = self.watch()
        with watch.part("during"):
            self.tell(RECORDED, mask="0x0000000000000080")
        found = self.conditions(watch)
        self.assertIn("power brake", found["marks_by_part"]["during"][0])
        self.assertEqual(found["gpus"][0]["throttled"], ["power brake"])

    def test_nothing_known_is_a_mark(self) -> None:
        watch = self.watch()
        self.tell("", samples=False)
        with watch.part("during"):
            pass
        self.assertEqual(
            self.conditions(watch)["marks_by_part"],
            {"during": ["conditions unknown: nothing was told of GPU 0 of node0 while it was timed"]},
        )
        self.assertEqual(
            GpuWatch().conditions("node1", set(), set())["marks"],
            ["conditions unknown: nvidia-smi tells nothing of the GPUs of node1"],
        )
        self.assertEqual(GpuWatch().conditions("node1", set(), set(), expected=False)["marks"], [])


class Marks(unittest.TestCase):
    def test_a_record_has_those_of_its_parts(self) -> None:
        conditions = {
            "marks": ["shared"],
            "marks_by_part": {"during": ["a"], "own_test": ["b"], "baselines": ["c"]},
        }
        evidence = {"conditions": conditions, "profiler": "nsys"}
        ranks = [report.RankReport(0, "node0", 0, {}, {}, {}, evidence=evidence)]
        nsys = "measured under nsys, which slows the program"
        self.assertEqual(report.marks(ranks, ["during"]), ["shared", "a", nsys])
        self.assertEqual(report.marks(ranks, []), ["shared", nsys])


if __name__ == "__main__":
    unittest.main()
