"""V1's standard kernels: selections, experts, sizes, SMs and queue pairs."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.diagnostics.model import KeyPath
from compiler.rules.kernels import sizes
from compiler.rules.kernels.model import Problem, Run
from compiler.rules.kernels.neighbours import multiples, one_of

TOPK: KeyPath = ("cmd_args", "num_topk")
EXPERTS: KeyPath = ("cmd_args", "num_experts")
HIDDEN: KeyPath = ("cmd_args", "hidden_size")
SMS: KeyPath = ("cmd_args", "num_sms")
QPS: KeyPath = ("cmd_args", "num_qps_per_rank")


def topk(run: Run) -> Iterator[Problem]:
    """num_topk <= 32."""
    most: int = run.limit("standard-topk")
    if run.arguments.num_topk > most:
        yield Problem(
            TOPK,
            f"num_topk = {run.arguments.num_topk}: V1 standard handles at most {most}",
            f"use at most {most}",
        )


def groups_per_token(run: Run) -> Iterator[Problem]:
    """At most 8 groups per token."""
    most: int = run.limit("groups-per-token")
    if run.groups > most and run.arguments.num_topk > most:
        yield Problem(
            TOPK,
            f"num_topk = {run.arguments.num_topk} on {run.groups} groups of ranks: a token can reach "
            f"more than {most}",
            f"use num_topk = {most} or less, or run on {most} hosts or fewer",
        )


def intranode_experts(run: Run) -> Iterator[Problem]:
    """num_experts / ranks <= 128."""
    most: int = run.limit("intranode-experts-per-rank")
    if run.experts_per_rank > most:
        yield Problem(
            EXPERTS,
            f"{run.arguments.num_experts} experts are {run.experts_per_rank} for each of {run.shape}, "
            f"at most {most} are possible",
            f"use at most {most * run.ranks} experts",
        )


def internode_experts(run: Run) -> Iterator[Problem]:
    """num_experts / groups <= 512."""
    most: int = run.limit("internode-experts-per-group")
    per_group = -(-run.arguments.num_experts // run.groups)
    if per_group > most:
        yield Problem(
            EXPERTS,
            f"{run.arguments.num_experts} experts are {per_group} for each of {run.groups} groups of "
            f"ranks, at most {most} are possible",
            f"use at most {most * run.groups} experts",
        )


def intranode_alignment(run: Run) -> Iterator[Problem]:
    """A row is a multiple of 32 bytes."""
    step = run.limit("intranode-hidden-alignment") // run.element_bytes
    hidden = run.arguments.hidden_size
    if hidden % step:
        yield Problem(
            HIDDEN,
            f"hidden_size = {hidden}: a row of {hidden * run.element_bytes} bytes is no multiple of "
            f"{step * run.element_bytes}",
            f"use {one_of(multiples(hidden, step, most=_most_intranode(run)))}",
        )


def intranode_size(run: Run) -> Iterator[Problem]:
    """Half a row fits into 8 KiB."""
    room: int = run.limit("intranode-hidden-size")
    half = run.arguments.hidden_size * run.element_bytes // 2
    if half + sizes.BARRIER > room:
        yield Problem(
            HIDDEN,
            f"hidden_size = {run.arguments.hidden_size}: half a row and a barrier are "
            f"{half + sizes.BARRIER} bytes, at most {room} are possible",
            f"use at most {_most_intranode(run)}",
        )


def _most_intranode(run: Run) -> int:
    step = 128 if run.element_bytes == 1 else run.limit("intranode-hidden-alignment") // run.element_bytes
    channels: int = (run.limit("intranode-hidden-size") - sizes.BARRIER) * 2 // run.element_bytes
    return channels // step * step


def internode_alignment(run: Run) -> Iterator[Problem]:
    """hidden_size % 256 == 0."""
    step: int = run.limit("internode-hidden-alignment")
    hidden = run.arguments.hidden_size
    if hidden % step:
        near = multiples(hidden, step, most=_most_internode(run))
        yield Problem(HIDDEN, f"hidden_size = {hidden} is no multiple of {step}", f"use {one_of(near)}")


def internode_size(run: Run) -> Iterator[Problem]:
    """A token with its metadata fits into 16 KiB."""
    room: int = run.limit("internode-hidden-size")
    token = sizes.internode_token(run.arguments.hidden_size, run.arguments.num_topk, run.element_bytes)
    if token + sizes.BARRIER > room:
        yield Problem(
            HIDDEN,
            f"hidden_size = {run.arguments.hidden_size}: a token, its metadata and a barrier are "
            f"{token + sizes.BARRIER} bytes, at most {room} are possible",
            f"use at most {_most_internode(run)}",
        )


def _most_internode(run: Run) -> int:
    step: int = run.limit("internode-hidden-alignment")
    room: int = run.limit("internode-hidden-size") - sizes.BARRIER
    topk = min(run.arguments.num_topk, 32)
    return max(
        (size for size in range(step, room // 2, step) if sizes.internode_token(size, topk, 2) <= room),
        default=step,
    )


def sms_even(run: Run) -> Iterator[Problem]:
    """num_sms % 2 == 0."""
    sms = run.arguments.num_sms
    if sms is not None and sms % run.limit("standard-sms-odd"):
        yield Problem(SMS, f"num_sms = {sms} is odd", f"use {one_of(multiples(sms, 2))}")


def intranode_sms(run: Run) -> Iterator[Problem]:
    """2 <= num_sms <= SMs of the GPU."""
    least: int = run.limit("intranode-sms")
    yield from _sms_between(run, least, run.facts.gpu_sms // 2 * 2, "the GPU's SMs")


def internode_sms(run: Run) -> Iterator[Problem]:
    """4 <= num_sms <= 56."""
    least, most = run.limit("internode-sms")
    yield from _sms_between(run, least, min(most, run.facts.gpu_sms), "what fits into shared memory")


def _sms_between(run: Run, least: int, most: int, why: str) -> Iterator[Problem]:
    sms = run.arguments.num_sms
    if sms is not None and sms < least:
        yield Problem(SMS, f"num_sms = {sms}: at least {least} are needed", f"use at least {least}")
    elif sms is not None and sms > most:
        yield Problem(SMS, f"num_sms = {sms}: at most {most}, {why}, are possible", f"use at most {most}")


def queue_pairs(run: Run) -> Iterator[Problem]:
    """num_qps_per_rank == num_sms / 2 or >= num_sms."""
    given = run.arguments.num_qps_per_rank
    if given is not None and given != run.sms // 2 and given < run.sms:
        automatic = " (automatic)" if run.arguments.num_sms is None else ""
        yield Problem(
            QPS,
            f"num_qps_per_rank = {given} with num_sms = {run.sms}{automatic}: neither {run.sms // 2} "
            f"nor at least {run.sms}",
            f"use {max(run.sms // 2, 1)} or {run.sms}, or remove num_qps_per_rank",
        )


def buffer_size(run: Run) -> Iterator[Problem]:
    """NVLink and RDMA buffers of at most 2 GiB - 1."""
    configuration: dict[str, list[int]] = run.limit("internode-buffer-size")
    known = configuration.get(str(run.ranks))
    if known is None:
        return
    largest = _largest_buffer(run, known, run.sms)
    if largest > sizes.INT_MAX:
        most = next(
            (
                sms
                for sms in range(run.sms // 2 * 2, 3, -2)
                if _largest_buffer(run, known, sms) <= sizes.INT_MAX
            ),
            4,
        )
        yield Problem(
            SMS,
            f"num_sms = {run.sms} with hidden_size = {run.arguments.hidden_size} on {run.shape} needs "
            f"a buffer of {largest} bytes, at most {sizes.INT_MAX} are possible",
            f"use num_sms = {most} or less",
        )


def _largest_buffer(run: Run, configuration: list[int], sms: int) -> int:
    return sizes.largest_buffer(
        run.arguments.hidden_size,
        run.ranks,
        sms,
        configuration,
        [chunks for _, _, chunks in _asked_chunks(run)],
        run.limit("standard-chunks"),
    )


def chunks(run: Run) -> Iterator[Problem]:
    """Chunk sizes fit into the queues."""
    for operation, text, asked in _asked_chunks(run):
        why = sizes.problem(operation, asked, run.ranks, run.limit("standard-chunks"))
        if why:
            name = f"{operation}_chunks"
            yield Problem(
                ("cmd_args", name),
                f"{name} = {text}: {why}",
                f"remove {name}, or let enable_tuning = true find it",
            )


def _asked_chunks(run: Run) -> Iterator[tuple[str, str, sizes.Chunks]]:
    for operation, text in (
        ("dispatch", run.arguments.dispatch_chunks),
        ("combine", run.arguments.combine_chunks),
    ):
        if text is not None and sizes.CHUNK_PATTERN.fullmatch(text):
            asked = sizes.Chunks.parse(text)
            if asked:
                yield operation, text, asked
