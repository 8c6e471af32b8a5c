"""Lines that no log of a good run holds: what they mean and what helps. Data only.

Each signature is found by a literal ``anchor`` first, which is fast in long logs, then by its ``pattern``
on the anchor's line where the anchor alone is too broad. Specific ones come before general ones: a line is
reported once, by the first signature that fits.

``victim`` marks what a rank says when *another* one has failed: it is never taken for the cause while a
better one is known. The error catalogue's sources are DeepEP's files at commit dd758ca unless named.
"""

from __future__ import annotations

import re
from re import Pattern
from typing import NamedTuple


class Signature(NamedTuple):
    """One kind of error line."""

    id: str
    anchors: tuple[bytes, ...]
    meaning: str
    remedy: str
    source: str
    pattern: Pattern[bytes] | None = None
    victim: bool = False


_PEER = "look at the other hosts' logs: the first rank that failed is the cause"
_KERNEL = "the named peer did not answer: look at its log, its GPU (Xid in dmesg) and its link"
_NET = "check DEEPEP's master interface (deepep_master_interface), the firewall, and that all hosts started"

SIGNATURES: tuple[Signature, ...] = (
    # The bundled benchmark.
    Signature(
        "wrong-element",
        (b"wrong data after",),
        "an element of the result differs from the reference",
        "do not use the figures; run again, then suspect the transport, the GPU's memory or the software",
        "deepep_bench",
    ),
    Signature(
        "refused",
        (b"] refused: ",),
        "the program refused its configuration or its machine",
        "the line says what is not possible here",
        "deepep_bench",
    ),
    Signature(
        "peer-lost",
        (b" on host ", b"no rank made progress for "),
        "a rank died, froze or stopped making progress",
        "look at the log of the host that the line names, and there for what ended the rank",
        "deepep_bench",
        re.compile(rb"\] rank \d+ on host \S+: |no rank made progress"),
        victim=True,
    ),
    Signature(
        "store-lost",
        (b"lost the store at ", b"the store is lost, "),
        "the first host, its launcher or the network to it is gone",
        "look at the log of the first host",
        "deepep_bench",
        victim=True,
    ),
    Signature(
        "supervisor-failed",
        (b"supervisor failed: ", b"ending what it left"),
        "the supervisor on a host ended before its run",
        "look for who killed it; what it had started was ended",
        "supervisor",
    ),
    # DeepEP's kernels.
    Signature(
        "deepep-cpu-recv",
        (b"DeepEP error: CPU recv timeout",),
        "DeepEP's host side waited in vain for counts",
        "a peer died or a GPU hangs: look at the other ranks, and for Xid in dmesg",
        "csrc/legacy/buffer.hpp:596",
    ),
    Signature(
        "deepep-dispatch-cpu",
        (b"timeout (dispatch CPU)",),
        "DeepEP's internode notify never completed",
        "-1 in num_rdma_recv_tokens alone: network (GID, HCA list, peer memory); in both: an NVLink peer",
        "csrc/legacy/buffer.hpp:1102",
    ),
    Signature(
        "deepep-rdma-sender",
        (b"DeepEP dispatch RDMA sender timeout", b"DeepEP RDMA sender coordinator timeout"),
        "a node does not take what is sent to it",
        _KERNEL,
        "internode.cu:654,785",
    ),
    Signature(
        "deepep-forwarder",
        (b"forwarder timeout", b"combine forwarder"),
        "nothing arrives from a peer",
        _KERNEL,
        "internode.cu:884,924,949,2029,2062",
        re.compile(rb"DeepEP .*timeout"),
    ),
    Signature(
        "deepep-ll-masked",
        (b"Warning: DeepEP timeout for",),
        "a low-latency kernel gave up on a rank and went on without it",
        _KERNEL,
        "internode_ll.cu:61,398,962",
    ),
    Signature(
        "deepep-timeout",
        (b"DeepEP timeout", b"DeepEP "),
        "a DeepEP kernel waited for a peer in vain",
        _KERNEL,
        "internode.cu, intranode.cu, utils.cuh:539, comm.cuh:122,174",
        re.compile(rb"DeepEP .*timeout"),
        victim=True,
    ),
    Signature(
        "deepep-unsupported",
        (
            b"Unsupported RDMA ranks",
            b"Unsupported ranks",
            b"Unsupported hidden",
            b"Unsupported number of EP ranks",
        ),
        "DeepEP has no kernel for these sizes",
        "change hidden_size or the number of ranks",
        "launch.cuh, legacy.py",
    ),
    Signature(
        "deepep-qps",
        (b"num_rc_per_pe", b"Allocated QPs are not enough"),
        "too few queue pairs",
        "raise num_qps_per_rank; NVSHMEM_IBGDA_NUM_RC_PER_PE may not take effect",
        "internode.cu:497, elastic.py:930",
        re.compile(rb"(?:[Aa]ssert|Failed|Allocated).*"),
    ),
    Signature(
        "deepep-cpu-wait",
        (b"Dispatch CPU wait",),
        "DeepEP's host wait exceeded its limit",
        _PEER,
        "csrc/elastic/buffer.hpp:1063",
    ),
    Signature(
        "nccl-gin",
        (b"NCCL GIN is unavailable",),
        "the network stack lacks NCCL GIN",
        "NCCL_IB_MERGE_NICS=0, a newer OFED (24.10 on), single-plane network",
        "nccl.cu:87",
    ),
    Signature(
        "nccl-versions",
        (
            b"Duplicate NCCL runtime found",
            b"Invalid NCCL versions",
            b"NCCL compile-time and runtime versions must be the same",
        ),
        "two NCCL libraries meet",
        "use one: LD_PRELOAD or EP_NCCL_ROOT_DIR, or rebuild",
        "deep_ep/__init__.py",
    ),
    Signature(
        "deepep-speed",
        (b"Failed to get RDMA connection speed", b"Failed to get NVLink connection speed"),
        "the automatic number of SMs is wrong: the figure is not comparable",
        "set num_sms, or EP_NIC_NAME",
        "envs.py:217",
    ),
    Signature(
        "deepep-jit",
        (b"Corrupted JIT cache directory",),
        "DeepEP's compile cache is shared or stale",
        "put EP_JIT_CACHE_DIR on a local disk and empty it",
        "jit",
    ),
    Signature(
        "kineto-empty",
        (b"Kineto profiler returned 0 events",),
        "the profiler saw no kernel: times are unknown",
        "run without use_kineto_profiler",
        "testing.py",
    ),
    # NVSHMEM and verbs.
    Signature(
        "nvshmem-peermem",
        (b"neither nv_peer_mem, or nvidia_peermem detected",),
        "GPU memory cannot be registered",
        "modprobe nvidia_peermem on the host, mount /sys into the container, or use dmabuf",
        "ibgda.cpp:4557",
    ),
    Signature(
        "nvshmem-uar",
        (b"NULL value cannot allocate mlx5dv_devx_uar",),
        "the NIC refuses device queues",
        "run the container privileged, or use fewer queue pairs",
        "ibgda.cpp:1385",
    ),
    Signature(
        "ibv-modify-qp",
        (b"ibv_modify_qp failed", b"mlx5dv_devx_obj_modify for INIT2RTR_QP"),
        "a queue pair cannot reach its peer",
        "check the GID index, the traffic class and cross-rail reachability",
        "ibgda.cpp:1682",
    ),
    Signature(
        "nvshmem-ibgda",
        (b"init failed for transport: IBGDA",),
        "NVSHMEM's GPU-initiated transport did not start",
        "check nvidia_peermem, driver options and privileges",
        "NVSHMEM",
    ),
    Signature(
        "nvshmem-bootstrap",
        (b"socketProgressOpt: Call to recv failed", b"bootstrap_net_recv Message truncated"),
        "the bootstrap connection broke",
        "set NVSHMEM_BOOTSTRAP_UID_SOCK_IFNAME; or a peer died earlier",
        "NVSHMEM",
        victim=True,
    ),
    # Memory and signals.
    Signature(
        "cuda-oom",
        (b"CUDA out of memory", b"OutOfMemoryError"),
        "a GPU's memory is exhausted",
        "fewer tokens, or free the GPU of other processes",
        "PyTorch",
    ),
    Signature(
        "host-oom",
        (
            b"oom_kill",
            b"oom-kill",
            b"Out of memory: Killed",
            b"Cannot allocate memory",
            b"you tried to allocate",
            b"MemoryError",
        ),
        "the host's memory is exhausted",
        "fewer tokens or ranks per host, or more memory",
        "Linux",
    ),
    Signature(
        "rank-killed",
        (b"(SIGKILL) received by PID", b"Killed"),
        "a process was killed",
        "look for the out-of-memory killer in dmesg, or for someone who killed it",
        "torchrun, shell",
        re.compile(rb"\(SIGKILL\) received by PID|(?:^|\s)Killed\s*$"),
    ),
    Signature(
        "rank-crashed",
        (
            b"Segmentation fault",
            b"Bus error",
            b"Fatal Python error",
            b"core dumped",
            b"(SIGSEGV) received by PID",
            b"(SIGABRT) received by PID",
            b"(SIGBUS) received by PID",
        ),
        "a process crashed",
        "look at the lines before it; check that libraries fit together",
        "libc, Python, torchrun",
    ),
    Signature(
        "no-space",
        (b"No space left on device",),
        "a disk or shared memory is full",
        "free space in the work directory (deepep_work_dir), /tmp or /dev/shm",
        "Linux",
    ),
    # CUDA and NCCL.
    Signature(
        "cuda-error",
        (b"CUDA error", b"cudaError", b"CUDA driver version is insufficient"),
        "a CUDA call failed",
        "look for Xid in dmesg; run again with CUDA_LAUNCH_BLOCKING=1 to find the call",
        "CUDA",
    ),
    Signature(
        "nccl-watchdog",
        (b"Watchdog caught collective operation timeout",),
        "a collective call never completed",
        _PEER,
        "PyTorch",
        victim=True,
    ),
    Signature(
        "nccl-error",
        (
            b"NCCL error",
            b"ncclSystemError",
            b"ncclInternalError",
            b"ncclUnhandledCudaError",
            b"ncclInvalidUsage",
            b"ncclRemoteError",
        ),
        "NCCL failed",
        "run again with NCCL_DEBUG=INFO; check NCCL_SOCKET_IFNAME and NCCL_IB_HCA",
        "NCCL",
    ),
    # Meeting and talking.
    Signature(
        "port-in-use",
        (b"Address already in use", b"EADDRINUSE"),
        "the rendezvous port was taken",
        "run again: every attempt takes a fresh port",
        "Linux",
    ),
    Signature(
        "rendezvous",
        (
            b"The client socket has timed out after",
            b"RendezvousTimeoutError",
            b"RendezvousConnectionError",
            b"Timed out waiting for clients",
            b"The client socket has failed to connect",
        ),
        "the hosts did not meet",
        _NET,
        "PyTorch c10d",
    ),
    Signature(
        "gloo-mesh",
        (b"Gloo connectFullMesh failed",),
        "the ranks could not connect to each other",
        _NET,
        "gloo",
    ),
    Signature(
        "peer-gone",
        (b"Connection closed by peer", b"Connection reset by peer", b"Broken pipe"),
        "a peer's connection broke",
        _PEER,
        "gloo, sockets",
        # PyTorch warns like this (a W before the date) when ranks of a good run end one after the other.
        re.compile(rb"^(?!(?:\[rank\d+\]:)?\[W\d)"),
        victim=True,
    ),
    Signature(
        "gloo-timeout",
        (b"Timed out waiting", b"Application timeout caused pair closure"),
        "a peer did not answer in time",
        _PEER,
        "gloo",
        re.compile(rb"gloo|Timed out waiting \d+ms|pair closure"),
        victim=True,
    ),
    # The software.
    Signature(
        "module-missing",
        (b"No module named",),
        "a Python package is missing",
        "check deepep_python, or the image",
        "Python",
    ),
    Signature(
        "library-mismatch",
        (b"undefined symbol:", b"error while loading shared libraries"),
        "a library is missing or of another version",
        "check the image; do not upgrade single packages in it",
        "ld.so",
    ),
    Signature(
        "image-credentials",
        (b"401 Unauthorized", b"toomanyrequests", b"failed to import docker image", b"pull access denied"),
        "the image could not be pulled",
        "check deepep_registries and the registry's limits",
        "container runtime",
    ),
    Signature(
        "slurm-time",
        (b"DUE TO TIME LIMIT",),
        "Slurm ended the job at its time limit",
        "raise time_limit",
        "Slurm",
    ),
    # Anything else that ends in a Python error. torchrun's own report of a dead child names no cause itself.
    Signature(
        "child-failed",
        (b"ChildFailedError",),
        "torchrun reports that a rank failed",
        _PEER,
        "torchrun",
        victim=True,
    ),
    Signature(
        "traceback",
        (b"Traceback (most recent call last)",),
        "a Python error",
        "read the lines below it",
        "Python",
    ),
)

CONSEQUENCE = re.compile(rb"consequence of rank (\d+) on host (\S+)")
"""What the bundled benchmark prints on a rank that ends because another one failed."""

BLAME = re.compile(rb"\] (?:consequence of )?rank (\d+) on host (\S+): ")
"""Lines in which a rank names the one that failed first: its own finding, or as its consequence."""

LAUNCHER_ERRORS = ("ChildFailedError", "SignalException")
"""With what torchrun ends when a rank failed or it is stopped: never a cause."""

STOP = re.compile(
    rb"Received \w+ death signal|Received signal \w+, stopping"
    rb"|got signal: (?:15|2)\b|forcefully exiting via 9"
)
"""What torchrun prints when told to stop, or when it loses patience with a rank: no cause follows it."""

EXIT_BARRIER = b"Error waiting on exit barrier"
"""What a torchrun agent logs, with a traceback, when the agent that holds the store ended a moment earlier.

Ranks have ended by then and the agent exits with 0; whether they ended well is judged elsewhere. Lines
with the same prefix belong to it.
"""
