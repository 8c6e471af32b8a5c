"""Answers the controller from the files staged beside this one: ``python -I -S verb.py VERB``, JSON on stdin.

The same as the module of that name, without the half second that a module takes to arrive and to start.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from deepep_host.verbs import perform

print("\n@deepep@" + json.dumps(perform(sys.argv[1], json.loads(sys.stdin.buffer.read().decode("utf-8")))))
