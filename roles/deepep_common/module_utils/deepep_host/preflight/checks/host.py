"""Interpreter, directories, network interface, limits: what every run needs."""

from __future__ import annotations

import sys
import tempfile

from ...rendezvous import not_local
from ..machine import Machine, Wanted
from ..model import Outcome, fail, ok, unknown, warn

_SHARED = (
    "nfs",
    "nfs4",
    "lustre",
    "gpfs",
    "beegfs",
    "cifs",
    "smb3",
    "ceph",
    "glusterfs",
    "fuse.sshfs",
    "wekafs",
)
_FILES_WANTED = 65536


def python(machine: Machine, wanted: Wanted) -> Outcome:
    """The interpreter that runs the checks is the one that runs everything else of ours."""
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < (3, 8):  # noqa: UP036 - the interpreter is the host's
        return fail(f"Python {version} at {sys.executable} is older than 3.8")
    return ok(f"Python {version} at {sys.executable}")


def torch(machine: Machine, wanted: Wanted) -> Outcome:
    """``machine.torch`` is asked beside the other commands, since importing torch takes seconds."""
    found = machine.torch
    if not found:
        return unknown("no interpreter with torch is named", "set deepep_python")
    if "error" in found:
        return fail(f"{wanted.python} cannot import torch: {found['error']}")
    gpus = found.get("gpus")
    text = f"torch {found['version']} at {wanted.python}, {gpus} GPUs"
    if "gpu" in wanted.needs and not gpus:
        build = found.get("cuda_build")
        why = "it is a build for CPUs" if not build else f"its CUDA is {build}"
        return fail(f"{text}: torch sees no GPU ({why})", "install a build of torch for this driver's CUDA")
    return ok(text)


def work_dir(machine: Machine, wanted: Wanted) -> Outcome:
    """Programs, state and results until they are fetched."""
    path = wanted.work_dir
    if not machine.probe.writable(path):
        return fail(f"{path} cannot be written", "set deepep_work_dir to a writable directory")
    free = machine.probe.free_mib(path)
    if free is None:
        return unknown(f"the free space at {path} cannot be read")
    if free < wanted.min_free_mib:
        return fail(f"{path} has {free} MiB free, {wanted.min_free_mib} MiB are wanted")
    shared = machine.filesystem(path)
    if shared in _SHARED:
        return warn(
            f"{path}, {free} MiB free, is on a shared file system ({shared})",
            "set deepep_work_dir to a local disk: state is written often, and hosts share the directory",
        )
    return ok(f"{path}, {free} MiB free")


def interface(machine: Machine, wanted: Wanted) -> Outcome:
    """The address and the interfaces that the inventory or a test's environment names for the bootstrap."""
    address = wanted.master_address
    if address and not machine.probe.has_address(address):
        return fail(
            not_local(address, machine.probe.addresses()),
            "set deepep_master_address to one of this host's own",
        )
    if not wanted.interfaces:
        return ok(f"{address} is this host's" if address else "none named: the address is found by itself")
    present = machine.probe.names("/sys/class/net")
    texts = []
    for spec in wanted.interfaces:
        chosen = _matching(spec, present)
        if not chosen:
            return fail(
                f"no interface here fits {spec.lstrip('=')!r}; there are {', '.join(present) or 'none'}"
            )
        with_address = [(name, address) for name in chosen if (address := machine.probe.address(name))]
        if not with_address:
            return fail(f"interface {', '.join(chosen)} has no IPv4 address; there are {', '.join(present)}")
        texts.append(f"{with_address[0][0]} has {with_address[0][1]}")
    texts += [f"{address} is this host's"] if address else []
    return ok(", ".join(dict.fromkeys(texts)))


def _matching(spec: str, present: list[str]) -> list[str]:
    """Applies NCCL_SOCKET_IFNAME's rules: ``^`` excludes, ``=`` wants whole names, else beginnings."""
    excluded = spec.startswith("^")
    exact = spec.lstrip("^").startswith("=")
    names = [name.strip() for name in spec.lstrip("^=").split(",") if name.strip()]
    hits = [one for one in present if any(one == name if exact else one.startswith(name) for name in names)]
    return [one for one in present if one not in hits and one != "lo"] if excluded else hits


def memlock(machine: Machine, wanted: Wanted) -> Outcome:
    """RDMA registers memory, which counts as locked."""
    limits = machine.limits.get("Max locked memory")
    if limits is None:
        return unknown("/proc/self/limits cannot be read")
    soft, hard = limits
    if soft == "unlimited":
        return ok("unlimited, also over SSH")
    text = f"locked memory is limited to {_size(soft)} in this session (hard limit {_size(hard)})"
    # A daemon that is root's, and podman as root, raise the limit; nobody else can.
    bound = ["a program without a container has that limit"] if "torch" in wanted.needs else []
    if "enroot" in wanted.runtimes:
        bound.append("enroot has the limits of the session")
    if hard != "unlimited":
        bound += [f"rootless {name} gives at most the hard limit" for name in machine.rootless]
    if bound:
        return fail(f"{text}: {', '.join(bound)}")
    return warn(f"{text}; the container asks for its own")


def limits(machine: Machine, wanted: Wanted) -> Outcome:
    """Many ranks with many queue pairs open many files."""
    found = machine.limits.get("Max open files")
    if found is None:
        return unknown("/proc/self/limits cannot be read")
    soft, hard = found
    if hard != "unlimited" and int(hard) < _FILES_WANTED:
        return warn(f"at most {hard} open files, {_FILES_WANTED} are recommended")
    return ok(f"{soft} open files (hard limit {hard})")


def jit_cache(machine: Machine, wanted: Wanted) -> Outcome:
    """DeepEP V2 compiles at run time; a cache on a shared file system is damaged by several hosts at once."""
    places = _jit_caches(wanted)
    unclear = [path for path in places if not path.startswith("/")]
    if unclear:
        return unknown(f"EP_JIT_CACHE_DIR={unclear[0]} is a path only where the program runs")
    for path, what in places.items():
        shared = machine.filesystem(path)
        if shared in _SHARED:
            return warn(f"{what} is on a shared file system ({shared})")
    return ok(f"{', '.join(places.values())}: local")


def _jit_caches(wanted: Wanted) -> dict[str, str]:
    """Returns where kernels are kept, with words for each: as a container and the program choose it."""
    found = {named: f"EP_JIT_CACHE_DIR={named}" for named in wanted.jit_caches if named}
    if "" not in wanted.jit_caches:
        return found
    if wanted.runtimes:
        path = wanted.jit_cache_dir or f"{wanted.work_dir}/jit"
        found[path] = f"{'deepep_jit_cache_dir ' if wanted.jit_cache_dir else ''}{path}"
    if "torch" in wanted.needs or not found:
        path = tempfile.gettempdir()
        found[path] = path
    return found


def _size(text: str) -> str:
    if not text.isdigit():
        return text
    kib = int(text) / 1024
    return f"{kib:.0f} KiB" if kib < 10240 else f"{kib / 1024:.0f} MiB"
