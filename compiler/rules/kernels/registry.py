"""All kernel rules, in one table. A rule that is not listed here does not exist.

Severity, requirement, reason, numbers and sources of a rule stand under its slug in ``limits.toml``. Codes:
30x all backends, 31x ranks and hosts, 32x and 33x V1 standard, 34x low latency, 36x and 37x V2, 38x memory
and time, 45x the environment, 9xx known to be broken.
"""

from __future__ import annotations

from compiler.rules.kernels import elastic, environment, general, low_latency, ranks, standard
from compiler.rules.kernels.model import (
    ALL,
    BUNDLED,
    DEEPEP,
    IMAGE,
    V1,
    V1_NVSHMEM,
    V1_STANDARD,
    Example,
    Kernel,
    Rule,
)

_INTRANODE = frozenset({Kernel.V1_INTRANODE})
_INTERNODE = frozenset({Kernel.V1_INTERNODE})
_LOW_LATENCY = frozenset({Kernel.V1_LOW_LATENCY})
_V2 = frozenset({Kernel.V2})


def _v1(hosts: int, ranks_per_host: int = 8, version: str | None = None, **arguments: object) -> Example:
    return Example("deepep_v1", hosts, arguments, ranks_per_host=ranks_per_host, version=version)


def _ll(hosts: int, ranks_per_host: int = 8, version: str | None = None, **arguments: object) -> Example:
    given = {"mode": "low_latency", "tokens": 128, **arguments}
    return Example("deepep", hosts, given, ranks_per_host=ranks_per_host, version=version)


def _v2(hosts: int, ranks_per_host: int = 8, version: str | None = None, **arguments: object) -> Example:
    return Example("deepep_v2", hosts, arguments, ranks_per_host=ranks_per_host, version=version)


def _env(backend: str, hosts: int = 2, program: str = "bundled", **env: str) -> Example:
    return Example(backend, hosts, env=env, program=program)


RULES: tuple[Rule, ...] = (
    # 30x: all backends
    Rule("DEP301", "experts-not-divisible", "the experts cannot be split evenly over the ranks",
         ALL, ranks.experts_divisible, _v1(2, num_experts=256), _v1(2, num_experts=250)),
    Rule("DEP305", "fp8-hidden-alignment", "hidden_size does not come out even in fp8's scales",
         ALL, general.fp8_alignment, Example("gloo", 2, {"data_type": "fp8", "hidden_size": 1024}),
         Example("gloo", 2, {"data_type": "fp8", "hidden_size": 1000}), programs=BUNDLED),
    # 31x: ranks and hosts
    Rule("DEP311", "ranks-not-in-groups", "V1 needs whole groups of 8 ranks",
         V1, ranks.in_groups, _ll(2, 4), _ll(3, 4, num_experts=252)),
    Rule("DEP312", "intranode-ranks", "V1 standard has no intranode kernel for this number of ranks",
         _INTRANODE, ranks.intranode_ranks, _v1(1, 4), _v1(1, 6, num_experts=252)),
    Rule("DEP313", "internode-groups", "V1 standard has no internode kernel for this number of groups",
         _INTERNODE, ranks.internode_groups, _v1(4), _v1(5, num_experts=240)),
    Rule("DEP314", "group-across-hosts", "V1 standard needs the ranks of a group on one host",
         V1_STANDARD, ranks.group_on_one_host, _v1(1), _v1(2, 4)),
    Rule("DEP315", "mnnvl-without-fabric", "allow_mnnvl without NVLink between the hosts",
         V1, ranks.mnnvl_without_fabric, _v1(4, 4, "2.1.0", allow_mnnvl=True), _v1(2, allow_mnnvl=True)),
    # 32x: V1 standard
    Rule("DEP321", "standard-topk", "V1 standard cannot handle so many selections per token",
         V1_STANDARD, standard.topk, _v1(1, num_topk=32), _v1(1, num_topk=33)),
    Rule("DEP322", "groups-per-token", "V1 standard cannot send a token to so many groups",
         _INTERNODE, standard.groups_per_token, _v1(16, num_topk=8), _v1(16, num_topk=9)),
    Rule("DEP323", "intranode-experts-per-rank", "V1 standard cannot handle so many experts per rank",
         _INTRANODE, standard.intranode_experts, _v1(1, num_experts=1024), _v1(1, num_experts=1032)),
    Rule("DEP324", "internode-experts-per-group", "V1 standard cannot handle so many experts per group",
         _INTERNODE, standard.internode_experts, _v1(2, num_experts=1024), _v1(2, num_experts=1040)),
    Rule("DEP325", "intranode-hidden-alignment", "V1 standard cannot halve a row of this size",
         _INTRANODE, standard.intranode_alignment, _v1(1, hidden_size=7168), _v1(1, hidden_size=7176)),
    Rule("DEP326", "intranode-hidden-size", "V1 standard has no room for a row of this size",
         _INTRANODE, standard.intranode_size, _v1(1, hidden_size=8176), _v1(1, hidden_size=8192)),
    Rule("DEP327", "internode-hidden-alignment", "V1 standard cannot combine a row of this size",
         _INTERNODE, standard.internode_alignment, _v1(2, hidden_size=7168), _v1(2, hidden_size=7296)),
    Rule("DEP328", "internode-hidden-size", "V1 standard has no room for a token of this size",
         _INTERNODE, standard.internode_size, _v1(2, hidden_size=7936), _v1(2, hidden_size=8192)),
    Rule("DEP329", "standard-sms-odd", "V1 standard needs an even number of SMs",
         V1_STANDARD, standard.sms_even, _v1(1, num_sms=24), _v1(1, num_sms=25), programs=BUNDLED),
    Rule("DEP330", "intranode-sms", "V1 standard cannot run on so few or so many SMs",
         _INTRANODE, standard.intranode_sms, _v1(1, num_sms=132), _v1(1, num_sms=134), programs=BUNDLED),
    Rule("DEP331", "internode-sms", "V1 standard on several groups cannot run on so few or so many SMs",
         _INTERNODE, standard.internode_sms, _v1(2, num_sms=56), _v1(2, num_sms=58), programs=BUNDLED),
    Rule("DEP332", "internode-qps", "V1 standard's queue pairs do not match its SMs",
         _INTERNODE, standard.queue_pairs, _v1(2, num_sms=24, num_qps_per_rank=12),
         _v1(2, num_sms=24, num_qps_per_rank=16), programs=BUNDLED),
    Rule("DEP333", "internode-buffer-size", "V1 standard's buffers would exceed 2 GiB",
         _INTERNODE, standard.buffer_size, _v1(20, num_experts=320, num_sms=44),
         _v1(20, num_experts=320, num_sms=46), programs=BUNDLED),
    Rule("DEP334", "standard-chunks", "V1 standard's queues cannot take chunks of this size",
         V1_STANDARD, standard.chunks, _v1(2, combine_chunks="4/12"), _v1(2, combine_chunks="4/8"),
         programs=BUNDLED),
    # 34x: V1 low latency
    Rule("DEP340", "low-latency-hidden", "low latency has no kernel for this hidden_size",
         _LOW_LATENCY, low_latency.hidden, _ll(2, hidden_size=7168), _ll(2, hidden_size=7680)),
    Rule("DEP341", "low-latency-topk", "low latency cannot handle so many selections per token",
         _LOW_LATENCY, low_latency.topk, _ll(2, num_topk=11), _ll(2, num_topk=12)),
    Rule("DEP342", "low-latency-tokens-alignment", "low latency needs a multiple of 4 tokens over all ranks",
         _LOW_LATENCY, low_latency.tokens_alignment, _ll(1, 2, tokens=126), _ll(1, 2, tokens=127)),
    Rule("DEP343", "low-latency-queue-depth", "low latency's queues are too short for so many tokens",
         _LOW_LATENCY, low_latency.queue_depth, _ll(2, tokens=511), _ll(2, tokens=512)),
    Rule("DEP344", "queue-depth-range", "NVSHMEM cannot make queues of this depth",
         V1_NVSHMEM, low_latency.queue_depth_range, _env("deepep_v1", NVSHMEM_QP_DEPTH="2048"),
         _env("deepep_v1", NVSHMEM_QP_DEPTH="65536")),
    Rule("DEP345", "low-latency-experts", "low latency cannot handle so many experts",
         _LOW_LATENCY, low_latency.experts, _ll(1, num_experts=1848, tokens=8),
         _ll(1, num_experts=1856, tokens=8)),
    Rule("DEP346", "low-latency-qps", "low latency needs a queue pair for each expert of a rank",
         _LOW_LATENCY, low_latency.queue_pairs, _ll(2, num_qps_per_rank=16), _ll(2, num_qps_per_rank=12),
         programs=BUNDLED),
    Rule("DEP347", "low-latency-buffer-size", "low latency's buffer is too large",
         _LOW_LATENCY, low_latency.buffer_size, _ll(2, version="2.1.0", num_experts=1024, tokens=511),
         _ll(2, version="2.1.0", num_experts=1840, tokens=511)),
    Rule("DEP348", "low-latency-batch", "low latency with more tokens than recommended",
         _LOW_LATENCY, low_latency.batch, _ll(2, tokens=128), _ll(2, tokens=256)),
    Rule("DEP349", "low-latency-nvlink-off", "low latency on one host without NVLink",
         _LOW_LATENCY, low_latency.nvlink_off, _ll(1, allow_nvlink_for_low_latency=True), _ll(1)),
    # 36x: V2
    Rule("DEP360", "elastic-needs-package-2", "V2 with a DeepEP package that lacks it",
         _V2, elastic.package, _v2(2, version="2.1.0"), _v2(2, version="1.2.1"), programs=BUNDLED),
    Rule("DEP361", "elastic-low-latency", "V2 has no low-latency kernels",
         _V2, elastic.low_latency, _v2(2), _v2(2, mode="low_latency"), programs=BUNDLED),
    Rule("DEP362", "elastic-ranks", "V2 cannot handle so many ranks",
         _V2, elastic.ranks, _v2(16, 64, num_experts=1024), _v2(17, 64, num_experts=1088), programs=BUNDLED),
    Rule("DEP363", "elastic-experts", "V2 cannot handle so many experts",
         _V2, elastic.experts, _v2(4, num_experts=2048), _v2(4, num_experts=2080), programs=BUNDLED),
    Rule("DEP364", "elastic-experts-per-rank", "V2 cannot handle so many experts per rank",
         _V2, elastic.experts_per_rank, _v2(1, 4, num_experts=1024), _v2(1, 4, num_experts=1028),
         programs=BUNDLED),
    Rule("DEP365", "elastic-notify-threads", "V2 on several hosts cannot handle so many experts per rank",
         _V2, elastic.notify_threads, _v2(2, num_experts=1920), _v2(2, num_experts=1936), programs=BUNDLED),
    Rule("DEP366", "elastic-topk", "V2 cannot handle so many selections per token",
         _V2, elastic.topk, _v2(2, num_topk=32), _v2(2, num_topk=33), programs=BUNDLED),
    Rule("DEP367", "elastic-hosts", "V2 cannot handle so many hosts",
         _V2, elastic.hosts, _v2(32), _v2(33, num_experts=264), programs=BUNDLED),
    Rule("DEP368", "elastic-ranks-per-host", "V2 cannot handle so many ranks per host",
         _V2, elastic.ranks_per_host, _v2(2, 64), _v2(2, 72, num_experts=288), programs=BUNDLED),
    Rule("DEP369", "elastic-hidden-alignment", "V2 cannot combine a row of this size",
         _V2, elastic.hidden_alignment, _v2(1, hidden_size=7168), _v2(1, hidden_size=7296), programs=BUNDLED),
    Rule("DEP370", "elastic-hidden-size", "V2 has no room for a token of this size",
         _V2, elastic.hidden_size, _v2(2, hidden_size=57344), _v2(2, hidden_size=57856), programs=BUNDLED),
    Rule("DEP371", "elastic-sms", "V2 cannot run on so many SMs",
         _V2, elastic.sms, _v2(2, num_sms=132), _v2(2, num_sms=133), programs=BUNDLED),
    Rule("DEP372", "elastic-qps", "V2 with more queue pairs than it takes by itself",
         _V2, elastic.queue_pairs, _v2(2, num_qps_per_rank=129), _v2(2, num_qps_per_rank=130),
         programs=BUNDLED),
    Rule("DEP373", "elastic-automatic-sms", "V2 chooses its SMs by the rate of a network adapter",
         _V2, elastic.automatic_sms, _v2(2, num_sms=12), _v2(2), programs=BUNDLED),
    # 38x: memory, time, comparison
    Rule("DEP380", "buffers-exceed-gpu", "the buffers do not fit into a GPU of 80 GB",
         _LOW_LATENCY | _V2, general.buffers_exceed_gpu, _v2(2, tokens=8192), _v2(4, tokens=262144)),
    Rule("DEP381", "time-limit-below-timeout", "the time limit ends before DeepEP reports a hang",
         DEEPEP, general.time_limit, Example("deepep_v1", time_limit_s=1800),
         Example("deepep_v1", time_limit_s=60)),
    Rule("DEP382", "not-as-published", "the figures cannot be compared with DeepEP's published ones",
         DEEPEP, general.not_as_published, _v1(2, tokens=4096), _v1(2, tokens=1024)),
    # 45x: program and environment
    Rule("DEP450", "image-runs-v1", "the image's own program takes no backend",
         V1, environment.image_runs_v1, Example("deepep", program="image"),
         Example("deepep_v2", program="image"), programs=IMAGE),
    Rule("DEP451", "env-forced", "DeepEP overwrites an environment variable",
         V1_NVSHMEM, environment.forced, _env("deepep_v1", NVSHMEM_DEBUG="INFO"),
         _env("deepep_v1", NVSHMEM_MAX_TEAMS="32")),
    Rule("DEP452", "env-not-read", "an environment variable has no effect on the chosen kernels",
         DEEPEP, environment.not_read, _env("deepep_v1", NVSHMEM_DEBUG="INFO"),
         _env("deepep_v2", NVSHMEM_DEBUG="INFO")),
    Rule("DEP453", "env-build-time", "an environment variable that only a build reads",
         DEEPEP, environment.build_time, _env("deepep_v1"), _env("deepep_v1", DISABLE_SM90_FEATURES="1")),
    Rule("DEP454", "env-topk-idx-bits", "the indices' type is changed at run time",
         _V2, environment.topk_idx_bits, _env("deepep_v2"), _env("deepep_v2", EP_NUM_TOPK_IDX_BITS="32")),
    Rule("DEP455", "env-not-a-number", "an environment variable is not the number that DeepEP expects",
         DEEPEP, environment.not_a_number, _env("deepep_v2", EP_OVERRIDE_RDMA_SL="1"),
         _env("deepep_v2", EP_OVERRIDE_RDMA_SL="high")),
    Rule("DEP456", "elastic-gin-off", "V2 on several hosts without GIN",
         _V2, environment.gin_off, _env("deepep_v2", hosts=1, EP_DISABLE_GIN="1"),
         _env("deepep_v2", EP_DISABLE_GIN="1")),
    Rule("DEP457", "elastic-windows-off", "V2 without NCCL's symmetric memory",
         _V2, environment.windows_off, _env("deepep_v2", NCCL_CUMEM_ENABLE="1"),
         _env("deepep_v2", NCCL_CUMEM_ENABLE="0")),
    Rule("DEP458", "fake-timing", "DeepEP's timing is switched off",
         V1, environment.fake_timing, Example("deepep", program="image", version="2.1.0"),
         Example("deepep", program="image", version="2.1.0", env={"EP_USE_NVIDIA_TOOLS": "1"}),
         programs=IMAGE),
    Rule("DEP459", "debug-kernels", "V2's kernels are compiled with debugging code",
         _V2, environment.debug_kernels, _env("deepep_v2"), _env("deepep_v2", EP_GIN_GDAKI_DEBUG="1")),
    # 9xx: known to be broken
    Rule("DEP901", "internode-binding", "a DeepEP 2.0.0 whose internode dispatch may always fail",
         _INTERNODE, environment.internode_binding, _v1(2, version="2.1.0"), _v1(2, version="2.0.0")),
    Rule("DEP902", "nic-mapping", "NVSHMEM's mapping of network adapters does not work with V1",
         _INTERNODE, environment.nic_mapping, _env("deepep_v1", NVSHMEM_HCA_LIST="mlx5_0,mlx5_1"),
         _env("deepep_v1", NVSHMEM_ENABLE_NIC_PE_MAPPING="1")),
)  # fmt: skip
