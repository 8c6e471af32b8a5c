"""Environment variables that DeepEP overwrites, ignores or cannot read, and those that break a run.

A value that holds ``$`` is filled in on the host; nothing is known about it here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from compiler.diagnostics.model import KeyPath
from compiler.rules.kernels.model import V1_NVSHMEM, Kernel, Problem, Run

INSTEAD: Mapping[str, str] = {
    "NVSHMEM_DISABLE_P2P": "use allow_nvlink_for_low_latency",
    "NVSHMEM_IBGDA_NUM_RC_PER_PE": "use num_qps_per_rank",
    "NVSHMEM_DISABLE_MNNVL": "use allow_mnnvl",
}
"""What to write instead of a variable that deep_ep.Buffer sets itself."""


def number(text: str) -> int | None:
    """Returns the whole number that Python's ``int`` makes of a text of at most 18 digits, else None."""
    found = re.fullmatch(r"\s*([+-]?\d{1,18})\s*", text, re.ASCII)
    return int(found[1]) if found else None


def forced(run: Run) -> Iterator[Problem]:
    """What deep_ep.Buffer sets itself."""
    names: list[str] = run.limit("env-forced")
    for name in names:
        if name not in run.facts.env or (name == "NVSHMEM_DISABLE_MNNVL" and run.arguments.allow_mnnvl):
            continue
        yield Problem(
            _key(name),
            f"{name} is set by DeepEP itself; this value is lost",
            f"{INSTEAD[name]} and remove {name}" if name in INSTEAD else f"remove {name}",
        )


def not_read(run: Run) -> Iterator[Problem]:
    """What the chosen kernels do not read."""
    for name in run.facts.env:
        if name.startswith("NVSHMEM_"):
            reader = "" if run.kernel in V1_NVSHMEM else "V1 over the network and low latency"
        elif run.kernel is not Kernel.V2 and name.startswith(tuple(run.limit("env-not-read"))):
            reader = "V2"
        else:
            reader = ""
        if reader:
            yield Problem(
                _key(name),
                f"{name} has no effect here: only {reader} read{'s' * (reader == 'V2')} it",
                f"remove {name}",
            )


def build_time(run: Run) -> Iterator[Problem]:
    """What only DeepEP's build reads."""
    names: list[str] = run.limit("env-build-time")
    for name in names:
        if name in run.facts.env:
            yield Problem(
                _key(name),
                f"{name} has no effect: only the build of DeepEP reads it",
                f"build the image with {name}",
            )


def topk_idx_bits(run: Run) -> Iterator[Problem]:
    """EP_NUM_TOPK_IDX_BITS belongs to the build."""
    name = "EP_NUM_TOPK_IDX_BITS"
    if name in run.facts.env:
        yield Problem(
            _key(name),
            f"{name} is given at run time and must be what DeepEP was built with",
            f"remove {name}",
        )


def not_a_number(run: Run) -> Iterator[Problem]:
    """Values that DeepEP converts with ``int``."""
    names: list[str] = run.limit("env-not-a-number")
    for name in names:
        value = run.facts.env.get(name)
        if value is not None and "$" not in value and number(value) is None:
            yield Problem(_key(name), f"{name} = {value[:40]!r} is no whole number", "write a whole number")


def gin_off(run: Run) -> Iterator[Problem]:
    """GIN is on where there are several hosts."""
    if run.hosts > 1:
        yield from _switched(run, "elastic-gin-off", "V2 cannot reach another host")


def windows_off(run: Run) -> Iterator[Problem]:
    """Symmetric memory is on."""
    yield from _switched(run, "elastic-windows-off", "NCCL then has no symmetric memory")


def fake_timing(run: Run) -> Iterator[Problem]:
    """EP_USE_NVIDIA_TOOLS is off."""
    name = "EP_USE_NVIDIA_TOOLS"
    if number(run.facts.env.get(name, "")):
        yield Problem(_key(name), f"{name} = 1: DeepEP reports 1 s for every kernel", f"remove {name}")


def debug_kernels(run: Run) -> Iterator[Problem]:
    """EP_GIN_GDAKI_DEBUG is off."""
    name = "EP_GIN_GDAKI_DEBUG"
    if number(run.facts.env.get(name, "")):
        yield Problem(_key(name), f"{name} = 1 compiles debugging code into the kernels", f"remove {name}")


def nic_mapping(run: Run) -> Iterator[Problem]:
    """No mapping of adapters to ranks."""
    names: list[str] = run.limit("nic-mapping")
    for name in names:
        if run.facts.env.get(name, "0") not in ("0", ""):
            yield Problem(
                _key(name),
                f"{name} makes all ranks of a host use its first network adapter",
                f"remove {name}; NVSHMEM_HCA_LIST chooses adapters without a mapping",
            )


def image_runs_v1(run: Run) -> Iterator[Problem]:
    """The image's own program is V1."""
    if run.facts.backend not in ("deepep", "deepep_v1"):
        yield Problem(
            ("cmd_args", "backend"),
            f"backend = {run.facts.backend} with deepep_program: image, whose own program runs V1 only",
            "use deepep_program: bundled, or backend = deepep_v1",
        )


def internode_binding(run: Run) -> Iterator[Problem]:
    """Not DeepEP 2.0.0 from before the repair."""
    version = run.facts.deepep_version or ""
    if re.match(r"v?2\.0\b", version):
        yield Problem(
            ("cmd_args", "docker_image_url"),
            f"DeepEP {version[:40]}: V1 over the network fails at every dispatch where it was built "
            "before a1b3af3",
            "use an image with DeepEP 2.1.0 or 1.2.1, or backend = deepep_v2",
        )


def _switched(run: Run, slug: str, consequence: str) -> Iterator[Problem]:
    switches: dict[str, int] = run.limit(slug)
    for name, off in switches.items():
        value = number(run.facts.env.get(name, ""))
        if value is not None and bool(value) == bool(off):
            yield Problem(_key(name), f"{name} = {value}: {consequence}", f"remove {name}")


def _key(name: str) -> KeyPath:
    return ("extra_env_vars", name)
