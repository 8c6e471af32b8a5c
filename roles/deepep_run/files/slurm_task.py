"""Starts a task of a Slurm job: from the files staged beside this one, or from a bundle's roles."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "deepep_common" / "module_utils")]

from deepep_host.slurm.task import main  # noqa: E402

sys.exit(main(sys.argv[1:]))
