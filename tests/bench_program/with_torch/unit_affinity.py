"""Ranks run beside their GPUs, before any library starts its threads; where they do not, records say so."""

import os
import tempfile
import unittest
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import torch
from deepep_bench import affinity, session

GPU = torch.device("cuda", 0)
ADDRESS = "0000:1b:00.0"


class Bind(unittest.TestCase):
    def setUp(self) -> None:
        before = os.sched_getaffinity(0)
        self.addCleanup(os.sched_setaffinity, 0, before)
        self.first = min(before)

    def bound(self, cpus: str, address: str | None = ADDRESS) -> dict:
        with tempfile.TemporaryDirectory() as name, mock.patch.object(affinity, "_pci_address") as told:
            told.return_value = address
            folder = Path(name) / ADDRESS
            folder.mkdir()
            (folder / "local_cpulist").write_text(f"{cpus}\n")
            (folder / "numa_node").write_text("1\n")
            return affinity.bind(GPU, Path(name))

    def test_to_the_cpus_that_the_kernel_names(self) -> None:
        found = self.bound(str(self.first))
        self.assertEqual(found, {"gpu": ADDRESS, "numa_node": "1", "cpus": str(self.first), "unbound": None})
        self.assertEqual(os.sched_getaffinity(0), {self.first})

    def test_why_not(self) -> None:
        self.assertIn("may use none of 4095", self.bound("4095")["unbound"])
        self.assertIn("the kernel names none", self.bound("")["unbound"])
        self.assertIn("PCI address", self.bound("0", None)["unbound"])
        self.assertIsNone(affinity.bind(torch.device("cpu"))["unbound"])

    def test_records_say_which_ranks(self) -> None:
        why = {"unbound": "the kernel names none"}
        self.assertEqual(
            affinity.notes([(0, why), (1, {"unbound": None}), (2, why)]),
            ["ranks 0, 2 not bound to the CPUs beside the GPU: the kernel names none"],
        )


class Order(unittest.TestCase):
    def test_before_the_buffers_are_opened(self) -> None:
        seen: list = []

        class Opened(Exception):
            pass

        def opened() -> None:
            seen.append("open")
            raise Opened

        used = SimpleNamespace(use=lambda: seen.append("use"))
        run = object.__new__(session._Session)
        run._config, run._live = None, None
        run._backend = SimpleNamespace(device=torch.device("cpu"), device_of_rank=used, open=opened)
        run._phase = run._refuse_unless_equal = lambda *_: None
        with mock.patch.object(affinity, "bind", lambda _: seen.append("bind")), self.assertRaises(Opened):
            run.run()
        self.assertEqual(seen, ["use", "bind", "open"])
