"""All checks of one host, in the order in which they are shown. ``docs/preflight.md`` is made of this table.

``item`` is the number in the project's list of what a launcher must look at; other modules hold what is
compared between hosts (:mod:`.across`), tried between them (:mod:`.reach`) and measured by the controller.
"""

from __future__ import annotations

from . import reach
from .checks import container, elsewhere, gpu, host, logout, network, nvlink
from .model import Check

_NVSHMEM = "DeepEP docs/nvshmem.md"
_AZURE = "Azure/azurehpc-health-checks conf/nd96isr_h100_v5.conf"
_SMI = "nvidia-smi -q"

CHECKS = (
    Check("python", "P01", ("host",), (), "the interpreter is Python 3.8 or newer",
          "set ansible_python_interpreter to Python 3.8 or newer", "this project's host code", host.python),
    Check("torch", "P20", ("torch",), (), "the named interpreter imports torch, and torch sees the GPUs",
          "install torch there, or set deepep_python to an interpreter that has it", "this project",
          host.torch),
    Check("work_dir", "P16", ("host",), (), "the work directory can be written, is local and has room",
          "make room, set deepep_work_dir elsewhere, or lower deepep_preflight_min_free_mib", "this project",
          host.work_dir),
    # Not of a login host of Slurm's, which runs nothing itself: its jobs are no part of a login.
    Check("logout", "P01", ("torch", "container", "gpu"), (),
          "a run outlives the SSH connection that started it",
          "KillExcludeUsers=root USER, or KillUserProcesses=no, in /etc/systemd/logind.conf.d/, then "
          "systemctl restart systemd-logind; lingering does not help",
          "systemd logind.conf(5), loginctl(1)", logout.logout),
    Check("interface", "P19", ("host",), (), "the address that the inventory names is the host's, and the "
          "interfaces that it or a test names exist",
          "set deepep_master_interface (or the test's *_SOCKET_IFNAME) to one that exists",
          "deepseek-ai/DeepEP#150, #223", host.interface),
    Check("memlock", "P11", ("rdma",), ("network",), "locked memory is unlimited in an SSH session",
          "put `* - memlock unlimited` into /etc/security/limits.d/, LimitMEMLOCK=infinity into sshd's unit",
          _NVSHMEM, host.memlock),
    Check("limits", "P11", ("gpu",), (), "enough files may be open",
          "put `* - nofile 1048576` into /etc/security/limits.d/",
          "DeepEP run scripts: --ulimit nofile=1048576",
          host.limits),
    Check("jit_cache", "P16", ("gpu",), (), "kernels that are compiled at run time are kept on a local disk",
          "set deepep_jit_cache_dir, or the test's EP_JIT_CACHE_DIR, to a local directory",
          "DeepEP csrc/jit/compiler.hpp:52-54 @ dd758ca",
          host.jit_cache),
    Check("gpu_driver", "P03", ("gpu",), (), "the driver answers and shows every GPU of the PCI bus",
          "look at dmesg and nvidia-smi on the host", _SMI, gpu.answer),
    Check("gpu_count", "P03", ("gpu",), (), "as many GPUs of one model as the plan has ranks",
          "set deepep_gpus_per_node, or exclude the host", "DeepEP deep_ep/utils/envs.py:72-112 @ dd758ca",
          gpu.count),
    Check("gpu_mig", "P03", ("gpu",), (), "MIG is off", "nvidia-smi -mig 0", _SMI, gpu.mig),
    Check("gpu_idle", "P02", ("gpu",), (), "no other program computes on a GPU or holds its memory",
          "end it, or exclude the host", "NVIDIA nvidia-smi; a residue doubles latencies at exit code 0",
          gpu.idle),
    Check("gpu_xid", "P06", ("gpu",), (), "no Xid of the hardware since the boot",
          "reset the GPU (nvidia-smi -r) or reboot the host; exclude it if the error comes back",
          f"NVIDIA Xid Errors; {_AZURE}", gpu.xid),
    Check("gpu_ecc", "P05", ("gpu",), (), "no uncorrectable ECC error", "reset the GPU or reboot the host",
          f"{_SMI}; {_AZURE}", gpu.ecc),
    Check("gpu_recovery", "P05", ("gpu",), (), "no row remap, page retirement or reset is pending",
          "reset the GPU: nvidia-smi -r", "NVIDIA GPU Memory Error Management", gpu.remap),
    Check("gpu_throttle", "P04", ("gpu",), (), "nothing slows a GPU down",
          "look at cooling and power supply", f"{_SMI}: clocks_event_reasons; {_AZURE}", gpu.throttle),
    Check("gpu_clocks", "P04", ("gpu",), (), "no application clock below the largest",
          "nvidia-smi -rac (and -rgc for locked clocks)", _SMI, gpu.clocks),
    Check("gpu_power", "P04", ("gpu",), (), "the power limit is the default",
          "nvidia-smi -pl DEFAULT_LIMIT", _SMI, gpu.power),
    Check("gpu_persistence", "P04", ("gpu",), (), "persistence mode is on",
          "start nvidia-persistenced, or nvidia-smi -pm 1", _SMI, gpu.persistence),
    Check("gpu_pcie", "P04", ("gpu",), (), "the PCIe link has all its lanes", "reseat or replace the card",
          _SMI, gpu.pcie),
    Check("nvlink", "P07", ("nvlink", "mnnvl"), ("gpu",), "all NVLinks are up and connect all GPUs",
          "reset the GPUs, restart the fabric manager; exclude the host if a link stays down",
          "DeepEP deep_ep/utils/envs.py:153-176 @ dd758ca; nvidia-smi nvlink -s", nvlink.links),
    Check("nvswitch", "P07", ("nvlink", "mnnvl"), ("gpu",), "NVSwitch's fabric is set up",
          "systemctl restart nvidia-fabricmanager (its version must be the driver's), then reset the GPUs",
          "NVIDIA Fabric Manager User Guide", nvlink.fabric),
    Check("nvlink_domain", "P07", ("mnnvl",), (), "the GPUs are in an NVLink domain of several hosts",
          "exclude the host, or set allow_mnnvl = false", "deepseek-ai/DeepEP#487", nvlink.domain),
    Check("rdma", "P12", ("rdma",), ("network",), "there is an RDMA adapter that this user may use",
          "run with allow_nvlink_for_low_latency on one host, or exclude the host", _NVSHMEM,
          network.devices),
    Check("rdma_ports", "P12", ("rdma",), ("network",), "all its ports are up, at one rate",
          "look at cable, transceiver and switch port (ibstat, mlxlink), or exclude the host",
          f"/sys/class/infiniband; {_AZURE}", network.ports),
    Check("rdma_count", "P12", ("rdma",), ("network",), "an adapter for each GPU",
          "figures per GPU are those of a shared adapter", "DeepEP README", network.count),
    Check("rdma_gid", "P12", ("rdma",), ("network",), "RoCE has a GID for IPv4",
          "give the adapter's network device an IPv4 address",
          "NVSHMEM env_defs.h:52-62 (3.4.5); deepseek-ai/DeepEP#38, #17, #321", network.gids),
    Check("rdma_pkey", "P12", ("rdma",), (), "InfiniBand has a partition key at index 0",
          "give the port its key at index 0 on the subnet manager, or use NVSHMEM 3.7.0", "NVIDIA/nvshmem#82",
          network.pkeys),
    Check("rdma_mtu", "P15", ("rdma",), ("network",), "the MTU is 4096",
          "set the MTU of network device and switch port (9000 for RoCE)", "ibv_devinfo", network.mtu),
    Check("rdma_affinity", "P14", ("rdma",), ("network",), "each GPU has its own adapter on its PCIe switch",
          "compare with the mapping that NVSHMEM and NCCL choose (NVSHMEM_DEBUG=INFO, NCCL_DEBUG=INFO)",
          "nvidia-smi topo -m; deepseek-ai/DeepEP#466", network.affinity),
    Check("peer_memory", "P09", ("rdma",), ("network",), "adapters can reach GPU memory",
          "modprobe nvidia_peermem, or install the open kernel modules",
          "NVSHMEM transport_ib_common.cpp:24-31 (3.4.5)", network.peer_memory),
    Check("ibgda", "P08", ("ibgda",), (), "the GPU may ring the adapter's doorbell",
          'options nvidia NVreg_EnableStreamMemOPs=1 NVreg_RegistryDwords="PeerMappingOverride=1;" in '
          "/etc/modprobe.d/, then rebuild the initramfs and reboot", f"{_NVSHMEM} §2", network.ibgda),
    Check("gdrcopy", "P10", ("ibgda",), (), "GDRCopy's device is there where IBGDA needs it",
          "load gdrdrv and mount /dev/gdrdrv", f"{_NVSHMEM} §2.2", network.gdrcopy),
    Check("container", "P20", ("container",), (), "the container runtime answers this user and can give GPUs",
          "look at the runtime's own messages on the host", "docker info, podman info", container.runtime),
    Check("image_space", "P16", ("container",), (), "there is room for images",
          "make room, or lower deepep_preflight_image_free_mib", "this project", container.image_space),
    Check("image", "P20", ("container",), (), "the image has what its runs import, in a container "
          "of theirs: looked at after staging", "docs/containers.md says what an image must contain",
          "this project; deepseek-ai/DeepEP csrc/jit/compiler.hpp @ dd758ca", elsewhere.image),
    Check("pair_bandwidth", "P22", ("rdma",), ("network",), "every pair of hosts has its bandwidth, also "
          "across rails: never checked", "ib_write_bw", "this project", elsewhere.pairs),
    Check("pci_acs", "4.3", ("rdma",), ("network",), "ACS, IOMMU and PCI_ATOMIC_MODE suit the adapters: "
          "never checked", "lspci and mlxconfig as root", "this project", elsewhere.bus),
    Check("fabric", "4.3", ("rdma",), ("network",), "adaptive routing and congestion control suit the "
          "traffic: never checked", "ask who runs the switches", "this project", elsewhere.fabric),
)  # fmt: skip

CONTROLLER = (
    ("reachable", "P01", "the host answers Ansible", "ansible -m ping HOST"),
    ("clock", "P01", "its clock is within 1 s of the controller's (as far as the way there lets it be told)",
     "start NTP: times of different hosts cannot be compared"),
    ("bootstrap", "P18", "it reaches the first host of each of its runs by TCP, on a port like the "
     "rendezvous' and on one of the kernel's", reach.REMEDY),
)  # fmt: skip
"""What the controller finds out about a host: name, item, what, remedy."""

ELSEWHERE = (
    ("P13", "error counters of the adapters before and after each run: kept in `logs/<host>.counters.json`"),
    ("P17", "the image's digest on all hosts: compared after staging, before each run"),
    ("P21", "a benchmark on every host alone: `--selftest`"),
)
"""What is looked at elsewhere."""
