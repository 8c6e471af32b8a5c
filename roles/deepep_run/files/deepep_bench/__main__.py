"""Entry point: ``torchrun ... <folder>/deepep_bench --config=FILE --output-dir=DIR``."""

import os
import sys

if __name__ == "__main__":
    # torchrun runs this folder as a script, which puts the folder itself first on the path: its modules
    # would then hide others of the same name. The parent makes it the package that it is.
    _here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 (before anything is imported)
    sys.path[:] = [os.path.dirname(_here)] + [p for p in sys.path if os.path.abspath(p or ".") != _here]  # noqa: PTH100, PTH120

    from deepep_bench.cli import main

    sys.exit(main(sys.argv[1:]))
