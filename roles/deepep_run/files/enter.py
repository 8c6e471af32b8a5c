"""The command of a container: ``python3 enter.py RUN_DIR``. Its syntax is old, to refuse an old Python."""

import os
import sys

if sys.version_info < (3, 8):  # noqa: UP036 - the image's Python is anybody's
    sys.stderr.write(
        "the image's %s is Python %d.%d, and 3.8 is needed: set deepep_python to a newer one in the image\n"  # noqa: UP031
        % (sys.executable, sys.version_info[0], sys.version_info[1])
    )
    sys.exit(127)

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120

from deepep_host.inside import main

sys.exit(main(sys.argv[1:]))
