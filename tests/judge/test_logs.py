"""Error signatures: every one is found, a good run's lines are not, and long logs are read in pieces."""

# ruff: noqa: E501 - log lines are as long as they are

from __future__ import annotations

from pathlib import Path

import pytest
from deepep_host.judge import logs
from deepep_host.judge.catalogue import SIGNATURES
from deepep_host.judge.logs import scan_log

GOOD = """\
[W102 03:04:05] Setting OMP_NUM_THREADS environment variable for each process to be 1 in default
[Gloo] Rank 0 is connected to 3 peer ranks. Expected number of connected peer ranks is : 3
[config] num_tokens=4096, hidden=7168, num_topk_groups=4, num_topk=8
[testing] Running with FP8, with top-k (async=False, previous=True) ... passed
[tuning] Best dispatch (FP8): SMs 24, NVL chunk 28, RDMA chunk 20: 61 + 1000 us, 43.00 GB/s (RDMA)
[rank 3] Dispatch bandwidth: 43.00 GB/s, avg_t=173.00 us | Combine bandwidth: 46.00 GB/s, avg_t=314.00 us
   * EP:   3/16 | dispatch: 90 GB/s (SO), 230 GB/s (SU), 1048.000 us, 400593024 bytes | copy: 4791 GB/s
gloo stand-in: not DeepEP's figures; the process group's timeout is 120 s
NCCL INFO Bootstrap: Using eth0
"""

LINES = {
    "wrong-element": "[rank 1] wrong data after dispatch at rank 1: got 2.0",
    "refused": "[rank 0] refused: no GPU",
    "peer-lost": "[rank 0] rank 3 on host node2: silent for 10.0 s",
    "store-lost": "[rank 1] lost the store at 10.0.0.1:29500",
    "rank-frozen": "[rank 0] frozen for 12.0 s, outside of Python (last: timing dispatch 3/50): it waits",
    "rank-stopped": "[rank 0] stopped for 12.0 s, as by SIGSTOP (last: timing dispatch 3/50)",
    "supervisor-failed": "supervisor failed: RuntimeError",
    "v1-cpu-recv": "RuntimeError: DeepEP error: CPU recv timeout",
    "v1-dispatch-counts": "Global rank: 3, num_recv_tokens: -1, num_rdma_recv_tokens: -1",
    "v1-dispatch-cpu": "RuntimeError: DeepEP error: timeout (dispatch CPU)",
    "v1-rdma-sender": "DeepEP dispatch RDMA sender timeout, channel: 1, RDMA: 0, nvl: 2, dst RDMA lane: 1, head: 4, tail: 5",
    "v1-rdma-coordinator": "DeepEP RDMA sender coordinator timeout, channel: 1, IB: 0, nvl 2, dst IB: 1, tail: 5, remaining: 9",
    "v1-forwarder-rdma": "DeepEP dispatch forwarder timeout (RDMA check), channel: 1, RDMA: 0, nvl: 2, dst NVL: 3, "
    "src RDMA lane: 1, head: 4, tail: 5",
    "v1-forwarder-nvl": "DeepEP dispatch forwarder timeout (NVL check), channel: 1, RDMA: 0, nvl: 2, dst NVL: 3, head: 4, tail: 5",
    "v1-nvl-receiver": "DeepEP dispatch NVL receiver timeout, channel: 1, RDMA: 0, nvl: 2, src NVL: 3, head: 4, tail: 5",
    "v1-combine-nvl-sender": "DeepEP combine NVL sender timeout, channel: 1, RDMA: 0, nvl: 2, dst NVL: 3, RDMA lane: 1, head: 4",
    "v1-combine-forwarder-rdma": "DeepEP combine forwarder (RDMA check) timeout, channel: 1, RDMA: 0, nvl: 2, dst RDMA: 1, head: 4",
    "v1-combine-forwarder-nvl": "DeepEP combine forwarder (NVL check) timeout, channel: 1, RDMA: 0, nvl: 2, src NVL: 3, dst RDMA: 1",
    "v1-combine-receiver": "DeepEP combine RDMA receiver timeout, channel: 1, RDMA: 0, nvl: 2, src RDMA: 1, tail: 4, waiting: 7",
    "v1-ll-receive": "Warning: DeepEP timeout for dispatch receive, rank 1, local_expert_idx 4, src_rank 3",
    "v1-ll-barrier": "Warning: DeepEP timeout for barrier, rank 1, dst_rank 3",
    "v1-nvl-barrier": "DeepEP timeout check failed: rank = 3, thread = 1, value = 1024)",
    "v1-intranode": "DeepEP timeout for dispatch receivers, rank 3, responsible_channel = 1, tokens remained: 9",
    "v2-cpu-wait": "deep_ep.EPException: Dispatch CPU wait",
    "v2-nvl-barrier": "DeepEP NVLink barrier timeout, tag: 1, nvl: 2, thread: 3, status: 0, signal: 1, phase: 0",
    "v2-gin-barrier": "DeepEP Gin barrier timeout, tag: 1, scaleout: 0, scaleup: 2, thread: 1, signal: 3, target: 4",
    "v2-notify-scaleout": "DeepEP hybrid notify (scale-out rank reduction) timeout, scale-out: 0, scale-up: 2, thread: 1, "
    "wait scale-out: 1, decoded: -1",
    "v2-notify-scaleup": "DeepEP hybrid notify (scale-up reduction) timeout,scale-out: 0/2, scale-up: 2/8, thread: 1",
    "v2-notify": "DeepEP notify timeout, rank: 3, thread: 1, count: -1",
    "v2-forwarding": "DeepEP hybrid dispatch (forwarding) timeout, scale-out: 0, scale-up: 2, channel: 1, lane: 1",
    "v2-combine-scaleup": "DeepEP combine (scale-up wait) timeout, scale-out: 0/2, scale-up: 2/8, channel: 1",
    "v2-combine-scaleout": "DeepEP combine (scale-out wait all) timeout, scale-out: 0/2, scale-up: 2/8, channel: 1",
    "deepep-timeout": "DeepEP PP recv timeout, recv buffer is empty",
    "deepep-unsupported": "Failed: Assertion error csrc/kernels/legacy/launch.cuh:132 'false and \"Unsupported hidden\"'",
    "deepep-qps": "Assertion failed: internode.cu:497, ibgda_get_state()->num_rc_per_pe >= num_channels",
    "deepep-worst-tokens": "AssertionError: Internode dispatch does not support num_worst_tokens",
    "deepep-not-destroyed": "WARNING: destroy() was not called before DeepEP buffer destruction",
    "nccl-gin": "NCCL GIN is unavailable",
    "nccl-versions": "AssertionError: Duplicate NCCL runtime found in the current system: a and b",
    "deepep-speed": "Failed to get RDMA connection speed: no such device",
    "deepep-jit": "Corrupted JIT cache directory (expected 1 kernel symbol, found 0): /x",
    "deepep-ptxas": "ptxas fatal   : Value 'sm_103a' is not defined for option 'gpu-name'",
    "kineto-empty": "Kineto profiler returned 0 events",
    "nvshmem-peermem": "WARN: neither nv_peer_mem, or nvidia_peermem detected. Skipping transport.",
    "nvshmem-ibgda": "init failed for transport: IBGDA",
    "nvshmem-no-transport": "Unable to initialize any transports. returning error.",
    "nvshmem-nic-memory": "device mlx5_0 cannot allocate buffer on the specified memory type. Skipping...",
    "nvshmem-cpu-path": "ibgda_alloc_and_map_qp_uar with GPU as handler failed. We may need to enter the CPU fallback path.",
    "nvshmem-uar": "NULL value cannot allocate mlx5dv_devx_uar",
    "nvshmem-not-mlx5": "device bnxt_re0 is not enumerated as an mlx5 device. Skipping...",
    "qp-syndrome": "Error in mlx5dv_devx_obj_modify for INIT2RTR_QP with syndrome 5e6c8a",
    "ibv-modify-qp": "ibv_modify_qp failed status 110",
    "gdrcopy": "GDRCopy support not enabled, falling back",
    "nvshmem-bootstrap": "socketProgressOpt: Call to recv failed: Broken pipe",
    "nvshmem-early": "NVSHMEM API called before NVSHMEM initialization has completed",
    "nvshmem-topology": "nvshmem detect topo failed",
    "nvshmem-one-nic": "IBRC only supports One NIC / PE",
    "peer-access": "CUDA call failed with cudaErrorPeerAccessUnsupported",
    "imex": "CUmemFabricHandle export: operation not permitted",
    "nccl-xml": "NCCL WARN Error : too many XML nodes (max 256)",
    "gin-nics": "only 2 GIN GDAKI NICs have been created",
    "socket-fallback": "node1:12:34 [0] NCCL INFO Using network Socket (NET/Socket)",
    "cuda-oom": "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB",
    "host-oom": "RuntimeError: [enforce fail] posix_memalign. Cannot allocate memory",
    "rank-killed": "  traceback : Signal 9 (SIGKILL) received by PID 4711",
    "rank-crashed": "Fatal Python error: Segmentation fault",
    "no-space": "OSError: [Errno 28] No space left on device",
    "xid": "NVRM: Xid (PCI:0000:18:00): 79, pid=4711, GPU has fallen off the bus.",
    "cuda-ecc": "RuntimeError: uncorrectable ECC error encountered",
    "fabric-manager": "RuntimeError: CUDA error: system not yet initialized",
    "driver-too-old": "RuntimeError: CUDA error: CUDA driver version is insufficient for CUDA runtime version",
    "wrong-architecture": "torch.AcceleratorError: CUDA error: no kernel image is available for execution on the device",
    "gpu-taken": "RuntimeError: CUDA error: all CUDA-capable devices are busy or unavailable",
    "cuda-error": "torch.AcceleratorError: CUDA error: an illegal memory access was encountered",
    "nccl-watchdog": "[rank1] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=3)",
    "nccl-error": "torch.distributed.DistBackendError: NCCL error in: x.cpp:1, unhandled system error",
    "port-in-use": "The server socket has failed to bind (errno: 98 - Address already in use).",
    "rendezvous": "The client socket has timed out after 120000ms.",
    "gloo-mesh": "RuntimeError: Gloo connectFullMesh failed with [enforce fail]",
    "peer-gone": "RuntimeError: [gloo/transport/tcp/pair.cc:534] Connection closed by peer [10.0.0.2]:3456",
    "gloo-timeout": "RuntimeError: [gloo/transport/tcp/unbound_buffer.cc:81] Timed out waiting 120000ms",
    "image-credentials": "pyxis: failed to import docker image",
    "image-missing": "Error response from daemon: manifest for registry.example/deepep:2 not found: manifest unknown",
    "slurm-node": "slurmstepd: error: *** JOB 7 ON node1 CANCELLED AT 2026-01-02T03:04:05 DUE TO NODE FAILURE, SEE SLURMCTLD LOG FOR DETAILS ***",
    "slurm-time": "slurmstepd: error: *** STEP 1.0 ON node1 CANCELLED AT 2026 DUE TO TIME LIMIT ***",
    "module-missing": "/usr/bin/python3: No module named torch",
    "library-mismatch": "ImportError: libnccl.so.2: undefined symbol: ncclTeamWorld",
    "child-failed": "torch.distributed.elastic.multiprocessing.errors.ChildFailedError:",
    "traceback": "Traceback (most recent call last):",
}
"""One line of each signature in its real wording (the numbers are made up)."""


def _write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_a_good_log_has_no_finding(tmp_path: Path) -> None:
    scan = scan_log(_write(tmp_path / "log", GOOD * 50))
    assert (scan.findings, scan.blamed) == ([], {})


@pytest.mark.parametrize("signature", SIGNATURES, ids=[s.id for s in SIGNATURES])
def test_each_signature_is_found_at_its_line(tmp_path: Path, signature: logs.Signature) -> None:
    text = GOOD + LINES[signature.id] + "\n" + GOOD
    found = scan_log(_write(tmp_path / "log", text)).findings
    assert [(f.signature.id, f.line) for f in found] == [(signature.id, GOOD.count("\n") + 1)]


def test_every_signature_explains_itself() -> None:
    assert [s.id for s in SIGNATURES if not (s.meaning and s.cause and s.remedy and s.source)] == []
    assert len({s.id for s in SIGNATURES}) == len(SIGNATURES)
    assert {s.id for s in SIGNATURES} == set(LINES)


def test_a_traceback_shows_its_exception(tmp_path: Path) -> None:
    text = "[rank1]: Traceback (most recent call last):\n"
    text += '[rank1]:   File "x.py", line 1\n[rank1]: ValueError: no\n'
    (finding,) = scan_log(_write(tmp_path / "log", text)).findings
    assert (finding.text, finding.line) == ("ValueError: no", 1)


def test_repeated_lines_are_counted_once_each(tmp_path: Path) -> None:
    (finding,) = scan_log(_write(tmp_path / "log", "Killed\nfine\nKilled\n")).findings
    assert (finding.line, finding.lines) == (1, 2)


@pytest.mark.parametrize("text", ["Skilled", "Killed is a word in this line", "The Killed"])
def test_words_that_contain_killed(tmp_path: Path, text: str) -> None:
    found = scan_log(_write(tmp_path / "log", text + "\n")).findings
    assert bool(found) is text.endswith(" Killed")


def test_pieces_do_not_lose_or_shift_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_PIECE", 37)
    lines = ["x" * (n % 50) for n in range(400)]
    lines[250] = "CUDA error: at line 251"
    lines[399] = "Killed"
    found = scan_log(_write(tmp_path / "log", "\n".join(lines))).findings
    assert [(f.signature.id, f.line) for f in found] == [("cuda-error", 251), ("rank-killed", 400)]


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"\xff\xfe\x00 CUDA error \xc3\n" * 3)
    (finding,) = scan_log(tmp_path / "log").findings
    assert finding.lines == 3


def test_lines_after_a_stop_are_marked(tmp_path: Path) -> None:
    text = "CUDA error: x\nReceived 15 death signal\nTraceback (most recent call last):\nE\n"
    found = scan_log(_write(tmp_path / "log", text)).findings
    assert [(f.signature.id, f.after_stop) for f in found] == [("cuda-error", False), ("traceback", True)]


def test_warnings_of_connections_that_end_are_no_errors(tmp_path: Path) -> None:
    text = (
        "[rank3]:[W1122 10:48:07 TCPStore.cpp:106] [c10d] sendBytes failed on SocketImpl(fd=6): Broken pipe\n"
    )
    assert scan_log(_write(tmp_path / "log", text)).findings == []


def test_the_rank_that_others_blame(tmp_path: Path) -> None:
    text = "[rank 0] rank 3 on host node2: x\n[rank 1] consequence of rank 3 on host node2: x\n"
    assert scan_log(_write(tmp_path / "log", text)).blamed == {(3, "node2"): 2}


def test_what_a_consequence_goes_on_to_say_is_no_finding(tmp_path: Path) -> None:
    text = "[rank 0] consequence of rank 3 on host node2: NCCL error\n[rank 0] ncclRemoteError\n"
    assert scan_log(_write(tmp_path / "log", text)).findings == []
    other = text + "[rank 1] ncclRemoteError\n"
    assert [f.line for f in scan_log(_write(tmp_path / "log", other)).findings] == [3]


def test_torchruns_own_traceback_is_a_victims(tmp_path: Path) -> None:
    text = (
        "Traceback (most recent call last):\n  File x\ntorch.distributed.elastic.errors.ChildFailedError: \n"
    )
    (finding,) = scan_log(_write(tmp_path / "log", text)).findings
    assert (finding.signature.id, finding.signature.victim) == ("child-failed", True)
