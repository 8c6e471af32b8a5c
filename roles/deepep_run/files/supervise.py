"""Starts the supervisor from the files staged beside this one: ``python -I supervise.py RUN_DIR``."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from deepep_host.supervisor import main  # noqa: E402 - only found by the line above

sys.exit(main(sys.argv[1:]))
