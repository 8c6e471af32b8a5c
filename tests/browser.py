"""Makes sure that a Chromium is there for the tests of the report: ``python -m tests.browser``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")


def find() -> str | None:
    """Returns the path of an installed Chromium or Chrome."""
    return os.environ.get("DEEPEP_BROWSER") or next(filter(None, map(shutil.which, NAMES)), None)


def main() -> int:
    """Installs Debian's package where this is root on Debian, and says what to do elsewhere."""
    if find():
        return 0
    if os.geteuid() == 0 and shutil.which("apt-get"):
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update", "-q"], check=True, stdout=subprocess.DEVNULL, env=env)
        command = [
            "apt-get",
            "install",
            "-y",
            "-q",
            "--no-install-recommends",
            "chromium",
            "fonts-dejavu-core",
        ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=env)
    if find():
        return 0
    print(
        "The tests of the report need Chromium: install it, or set DEEPEP_BROWSER to its path.",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
