"""What a host is, as far as it can say itself: the keys of CloudAI's metadata files, and more."""

from __future__ import annotations

import getpass
import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .processes import boot_id

NULL = "null"
"""TOML knows no null: what this host cannot tell is this text, as in CloudAI's own files."""

_TORCH = """
import json
out = {}
try:
    import torch
    out["version"] = torch.__version__
    out["cuda_build"] = torch.version.cuda
    out["cuda_available"] = torch.cuda.is_available()
    out["gpus"] = torch.cuda.device_count()
    out["nccl"] = ".".join(map(str, torch.cuda.nccl.version())) if torch.cuda.is_available() else None
except Exception as error:
    out["error"] = "%s: %s" % (type(error).__name__, error)
print("\\n@torch@" + json.dumps(out))
"""


def ask(argv: Sequence[str], timeout_s: float = 20.0) -> str | None:
    """Returns a command's output, or None where it does not exist, fails or takes too long."""
    try:
        done = subprocess.run(  # noqa: S603 - fixed commands
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=timeout_s,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "replace").strip() if done.returncode == 0 else None


def ask_torch(python: str, timeout_s: float = 120.0) -> dict[str, Any]:
    """Returns what torch of the interpreter ``python`` says of itself; ``error`` where there is none."""
    try:
        done = subprocess.run(  # noqa: S603 - the inventory's interpreter
            [python, "-c", _TORCH],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    except OSError as error:
        return {"error": f"cannot run {python}: {error.strerror}"}
    except subprocess.TimeoutExpired:
        return {"error": f"{python} took more than {timeout_s:.0f} s to import torch"}
    marker = done.stdout.decode("utf-8", "replace").rpartition("@torch@")[2]
    try:
        answer = json.loads(marker)
    except ValueError:
        last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        return {"error": f"{python} ended with {done.returncode}: {''.join(last)}"}
    return answer if isinstance(answer, dict) else {"error": "no answer"}


def collect(host: str, python: str, torch: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the metadata of this host as tables for a TOML file; a value is real or ``"null"``.

    ``torch`` is what ask_torch said. The table ``slurm`` is a run's own, see :func:`slurm`.
    """
    release = _os_release()
    gpus = _gpus()
    mpi = ask(["mpirun", "--version"]) if shutil.which("mpirun") else None
    tables: dict[str, Any] = {
        "user": _user(),
        "host": {
            "inventory_name": host,
            "hostname": socket.gethostname(),
            "boot_id": boot_id(),
            "container_runtime": "none",
        },
        "system": {
            "os_type": release.get("ID"),
            "os_version": release.get("VERSION_ID"),
            "linux_kernel_version": platform.release(),
            "gpu_arch_type": gpus[0]["name"] if gpus else None,
            "cpu_model_name": _cpu_model(),
            "cpu_arch_type": platform.machine(),
            "cpu_count": os.cpu_count(),
            "cpu_usable": len(os.sched_getaffinity(0)),
            "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
            "gpu_count": len(gpus) if gpus is not None else None,
        },
        "python": {"version": platform.python_version(), "executable": sys.executable, "program": python},
        "torch": {
            "version": torch.get("version"),
            "cuda_available": torch.get("cuda_available"),
            "error": torch.get("error"),
        },
        "mpi": {
            "mpi_type": mpi.splitlines()[0] if mpi else None,
            "mpi_version": _first(r"(\d+\.\d+[\w.]*)", mpi),
            "hpcx_version": os.environ.get("HPCX_VERSION"),
        },
        "cuda": {
            "cuda_build_version": torch.get("cuda_build"),
            "cuda_runtime_version": _first(r"release (\d+\.\d+)", _maybe("nvcc", "--version")),
            "cuda_driver_version": gpus[0]["driver"] if gpus else None,
        },
        "network": {
            "nics": ",".join(_interfaces()),
            **_infiniband(),
            "switch_type": None,
            "network_name": None,
            "mofed_version": _first(r"(.+?):?$", _maybe("ofed_info", "-s")),
            "libfabric_version": _first(r"libfabric: (\S+)", _maybe("fi_info", "--version")),
        },
        "nccl": {"version": torch.get("nccl"), "commit_sha": None},
    }
    if gpus:
        tables["gpus"] = gpus
    return {key: _explicit(value) for key, value in tables.items()}


def slurm(nodes: list[str], ranks_per_host: int) -> dict[str, Any]:
    """Returns the table ``slurm`` of a run: its size, and Slurm's own names where this host is in a job.

    All values are texts, as CloudAI's reader wants them.
    """
    return {
        "cluster_name": os.environ.get("SLURM_CLUSTER_NAME", NULL),
        "node_list": ",".join(nodes),
        "num_nodes": str(len(nodes)),
        "ntasks_per_node": str(ranks_per_host),
        "ntasks": str(ranks_per_host * len(nodes)),
        "job_id": os.environ.get("SLURM_JOB_ID", NULL),
    }


def _explicit(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _explicit(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_explicit(inner) for inner in value]
    return NULL if value is None or value == "" else value


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _maybe(*argv: str) -> str | None:
    return ask(argv) if shutil.which(argv[0]) else None


def _first(pattern: str, text: str | None) -> str | None:
    match = re.search(pattern, text, re.MULTILINE) if text else None
    return match.group(1) if match else None


def _os_release() -> dict[str, str]:
    values: dict[str, str] = {}
    try:
        text = Path("/etc/os-release").read_text(encoding="utf-8")
    except OSError:
        return values
    for line in text.splitlines():
        name, found, value = line.strip().partition("=")
        if found:
            values[name] = value.strip("\"'")
    return values


def _cpu_model() -> str | None:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return _first(r"^(?:model name|Model|cpu)\s*:\s*(.+)$", text)


def _gpus() -> list[dict[str, str]] | None:
    """Returns one table per GPU, [] where nvidia-smi finds none, None where there is no nvidia-smi."""
    fields = ("index", "name", "uuid", "driver_version", "memory.total", "pci.bus_id")
    if not shutil.which("nvidia-smi"):
        return None
    text = ask(["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"])
    gpus = []
    for line in (text or "").splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) == len(fields):
            keys = ("index", "name", "uuid", "driver", "memory_mib", "pci_bus_id")
            gpus.append({key: cells[number] for number, key in enumerate(keys)})
    return gpus


def _interfaces() -> list[str]:
    return sorted(name for _, name in socket.if_nameindex())


def _infiniband(root: Path = Path("/sys/class/infiniband")) -> dict[str, list[str] | None]:
    """Returns RDMA devices, every port in words, and the rates of the active ports as the kernel has them."""
    try:
        devices = sorted(path.name for path in root.iterdir())
    except OSError:
        return {"infiniband": None, "infiniband_ports": None, "infiniband_rates": None}
    ports, rates = [], []
    for folder in sorted(root.glob("*/ports/*")):
        state = _word(folder / "state").rpartition(":")[2].strip()  # "4: ACTIVE"
        rate = _word(folder / "rate")
        name = f"{folder.parent.parent.name}/{folder.name}"
        ports.append(f"{name}: {state}, {_word(folder / 'link_layer')}, {rate}")
        if state == "ACTIVE":
            rates.append(rate)
    return {"infiniband": devices, "infiniband_ports": ports, "infiniband_rates": rates}


def _word(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return "unknown"
