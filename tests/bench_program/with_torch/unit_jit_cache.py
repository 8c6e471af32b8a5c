"""Where compiled kernels go on a bare host."""

import os
import tempfile
import unittest
from pathlib import Path

from deepep_bench.jit_cache import VARIABLE, settle


class JitCache(unittest.TestCase):
    def setUp(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.addCleanup(self._folder.cleanup)
        self.root = Path(self._folder.name)

    def test_one_directory_per_version_and_architecture(self) -> None:
        environ: dict = {}
        told = settle("2.1.0+dd758ca (commit x/y)", "sm_90", environ, self.root)
        self.assertIn(f"{VARIABLE}=", str(told))
        folder = Path(environ[VARIABLE])
        self.assertEqual(folder.name, "2.1.0+dd758ca-commit-x-y--sm_90")
        self.assertEqual(folder.stat().st_mode & 0o777, 0o700)
        other: dict = {}
        settle("2.1.0+dd758ca (commit x/y)", "sm_100", other, self.root)
        self.assertNotEqual(environ, other)

    def test_a_given_directory_is_kept(self) -> None:
        environ = {VARIABLE: "/elsewhere"}
        self.assertIsNone(settle("2", "sm_90", environ, self.root))
        self.assertEqual(environ, {VARIABLE: "/elsewhere"})

    def test_a_directory_that_others_may_write_is_not_used(self) -> None:
        top = self.root / f"deepep-jit-{os.getuid()}"
        top.mkdir()
        top.chmod(0o777)
        environ: dict = {}
        self.assertIsNone(settle("2", "sm_90", environ, self.root))
        self.assertEqual(environ, {})
