"""V2, ElasticBuffer."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.diagnostics.model import KeyPath
from compiler.rules.kernels import sizes
from compiler.rules.kernels.model import Problem, Run
from compiler.rules.kernels.neighbours import multiples, one_of

EXPERTS: KeyPath = ("cmd_args", "num_experts")
HIDDEN: KeyPath = ("cmd_args", "hidden_size")
SMS: KeyPath = ("cmd_args", "num_sms")
BACKEND: KeyPath = ("cmd_args", "backend")


def package(run: Run) -> Iterator[Problem]:
    """The package has ElasticBuffer."""
    version = run.facts.deepep_version
    yield Problem(
        BACKEND,
        f"backend = deepep_v2, and the image has DeepEP {version}",
        "use an image with DeepEP 2.x, or backend = deepep_v1",
    )


def low_latency(run: Run) -> Iterator[Problem]:
    """mode standard."""
    if run.arguments.mode == "low_latency":
        yield Problem(
            BACKEND,
            "backend = deepep_v2 has no low-latency kernels",
            "use backend = deepep_v1, or mode = standard",
        )


def ranks(run: Run) -> Iterator[Problem]:
    """Ranks <= 1024."""
    most: int = run.limit("elastic-ranks")
    if run.ranks > most:
        yield Problem(
            ("num_nodes",),
            f"{run.shape}: V2 handles at most {most}",
            f"run on {max(most // run.ranks_per_host, 1)} hosts or fewer",
        )


def experts(run: Run) -> Iterator[Problem]:
    """num_experts <= 2048."""
    most: int = run.limit("elastic-experts")
    if run.arguments.num_experts > most:
        yield Problem(
            EXPERTS,
            f"{run.arguments.num_experts} experts: V2 handles at most {most}",
            f"use at most {_share(most, run.ranks)}",
        )


def experts_per_rank(run: Run) -> Iterator[Problem]:
    """num_experts / ranks <= 256."""
    most: int = run.limit("elastic-experts-per-rank")
    if run.experts_per_rank > most:
        yield Problem(
            EXPERTS,
            f"{run.arguments.num_experts} experts are {run.experts_per_rank} for each of {run.shape}, "
            f"at most {most} are possible",
            f"use at most {most * run.ranks} experts",
        )


def notify_threads(run: Run) -> Iterator[Problem]:
    """Ranks per host + experts per rank <= 128 on several hosts."""
    most: int = run.limit("elastic-notify-threads")
    total = run.ranks_per_host + run.experts_per_rank
    if run.hosts > 1 and total > most:
        room = most - run.ranks_per_host
        yield Problem(
            EXPERTS,
            f"{run.ranks_per_host} ranks per host + {run.experts_per_rank} experts per rank = "
            f"{total}, at most {most} are possible",
            f"use at most {room * run.ranks} experts" if room > 0 else "use fewer ranks per host",
        )


def topk(run: Run) -> Iterator[Problem]:
    """num_topk <= 32."""
    most: int = run.limit("elastic-topk")
    if run.arguments.num_topk > most:
        yield Problem(
            ("cmd_args", "num_topk"),
            f"num_topk = {run.arguments.num_topk}: V2 handles at most {most}",
            f"use at most {most}",
        )


def hosts(run: Run) -> Iterator[Problem]:
    """At most 32 hosts."""
    most: int = run.limit("elastic-hosts")
    if run.hosts > most:
        yield Problem(
            ("num_nodes",), f"{run.hosts} hosts: V2 handles at most {most}", f"run on {most} hosts or fewer"
        )


def ranks_per_host(run: Run) -> Iterator[Problem]:
    """At most 64 ranks per host, on several hosts."""
    most: int = run.limit("elastic-ranks-per-host")
    if run.hosts > 1 and run.ranks_per_host > most:
        yield Problem(
            ("num_nodes",),
            f"{run.ranks_per_host} ranks per host: V2 handles at most {most} on several hosts",
            f"use at most {most} (deepep_gpus_per_node)",
        )


def hidden_alignment(run: Run) -> Iterator[Problem]:
    """hidden_size % 256 == 0."""
    step: int = run.limit("elastic-hidden-alignment")
    size = run.arguments.hidden_size
    if size % step:
        near = multiples(size, step, most=_most_hidden(run))
        yield Problem(HIDDEN, f"hidden_size = {size} is no multiple of {step}", f"use {one_of(near)}")


def hidden_size(run: Run) -> Iterator[Problem]:
    """A token fits into shared memory, twice on several hosts."""
    needed = _shared_memory(run, run.arguments.hidden_size)
    room: int = run.limit("elastic-hidden-size")
    if needed > room:
        yield Problem(
            HIDDEN,
            f"hidden_size = {run.arguments.hidden_size} needs {needed} bytes of shared memory, an SM "
            f"has {room}",
            f"use at most {_most_hidden(run)}",
        )


def _shared_memory(run: Run, size: int) -> int:
    arguments = run.arguments
    return sizes.elastic_shared_memory(
        size, arguments.num_topk, arguments.num_experts, run.element_bytes, run.hosts, run.ranks
    )


def _most_hidden(run: Run) -> int:
    room, step = run.limit("elastic-hidden-size"), run.limit("elastic-hidden-alignment")
    fitting = (
        size for size in range(room // 2 // step * step, 0, -step) if _shared_memory(run, size) <= room
    )
    return next(fitting, step)


def sms(run: Run) -> Iterator[Problem]:
    """num_sms <= SMs of the GPU, and <= 160 on several hosts."""
    given = run.arguments.num_sms
    most = run.facts.gpu_sms if run.hosts == 1 else min(run.facts.gpu_sms, run.limit("elastic-sms"))
    if given is not None and given > most:
        yield Problem(SMS, f"num_sms = {given}: at most {most} are possible", f"use at most {most}")


def queue_pairs(run: Run) -> Iterator[Problem]:
    """num_qps_per_rank <= 129."""
    given, usual = run.arguments.num_qps_per_rank, run.limit("elastic-qps")
    if run.hosts > 1 and given is not None and given > usual:
        yield Problem(
            ("cmd_args", "num_qps_per_rank"),
            f"num_qps_per_rank = {given}: DeepEP allocates at most {usual} by itself",
            f"use at most {usual}, or remove num_qps_per_rank",
        )


def automatic_sms(run: Run) -> Iterator[Problem]:
    """num_sms is given on several hosts."""
    if run.hosts > 1 and run.arguments.num_sms is None:
        nic = run.facts.env.get("EP_NIC_NAME", "mlx5_0")
        yield Problem(
            SMS,
            f"num_sms is not given: DeepEP derives it from the rate of the network adapter {nic}",
            "write num_sms (DeepEP's published figures: 12 on two hosts, 6 on four), or set EP_NIC_NAME",
        )


def _share(most: int, ranks: int) -> int:
    return max(most // ranks * ranks, ranks)
