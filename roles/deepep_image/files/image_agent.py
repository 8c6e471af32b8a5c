"""Starts the staging of one image from the files staged beside this one; its job is on standard input."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from deepep_host.image.agent import main

sys.exit(main(sys.argv[1:]))
