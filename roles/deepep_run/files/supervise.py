"""Starts the supervisor from the files staged beside this one: ``python -I supervise.py RUN_DIR``."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from deepep_host.supervisor import main

sys.exit(main(sys.argv[1:]))
