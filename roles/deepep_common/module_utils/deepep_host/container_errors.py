"""What a client says when a container does not start, and what to do about it."""

from __future__ import annotations

import re

_HINTS: tuple[tuple[str, str], ...] = (
    (
        r"executable file.{0,300}(not found|no such file)|exec: .{0,300}(not found|no such file)"
        r"|python[0-9.]*: (command )?not found",
        "image {image} has no {python}: use an image with Python 3.8 or newer, or set deepep_python to its "
        "interpreter's path in the image",
    ),
    (
        r"could not select device driver",
        "docker has no access to the GPUs: install the NVIDIA Container Toolkit and run nvidia-ctk runtime "
        "configure --runtime=docker, or leave them out with deepep_container_without: [gpus]",
    ),
    (
        r"unresolvable CDI devices?|nvidia\.com/gpu",
        "podman does not know the GPUs: run nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml, or leave "
        "them out with deepep_container_without: [gpus]",
    ),
    (
        r"permission denied.{0,300}docker|docker.{0,300}permission denied",
        "this user may not use docker: add it to the group docker, or set ansible_become: true",
    ),
    (r"cannot connect to the docker daemon|is the docker daemon running", "start docker on this host"),
    (
        r"no such image|unable to find image|image not known",
        "image {image} has gone from this host since it was staged: run again",
    ),
    (
        r"rlimit|ulimit",
        "this user may not raise its limits: raise them for its SSH sessions (limits.conf), or leave "
        "the limit out with deepep_container_without: [memlock, stack, nofile]",
    ),
    (r"exec format error", "image {image} is for another CPU architecture than this host's"),
    (r"no space left on device", "make room where the container runtime keeps its data"),
    (
        r"bind source path does not exist|statfs .{0,300}: no such file",
        "a mount's source is missing on this host: see extra_container_mounts and deepep_container_mounts",
    ),
)


def explain(text: str, image: str, python: str) -> str:
    """Returns the cause in one line: a way out where the client's words are known, and the words themselves.

    ``text`` is what the client wrote; ``python`` the interpreter that was to be started.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for pattern, hint in _HINTS:
        for line in lines:
            if re.search(pattern, line, re.IGNORECASE):
                return f"{hint.format(image=image, python=python)} ({_short(line)})"
    return _short(lines[-1]) if lines else "the runtime gave no reason"


def _short(line: str) -> str:
    return line if len(line) <= 400 else line[:400] + "..."
