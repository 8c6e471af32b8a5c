from __future__ import annotations

import sys

from tests.bench_program.launch import PROGRAM

sys.path.insert(0, str(PROGRAM.parent))
