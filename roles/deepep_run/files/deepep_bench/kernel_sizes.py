"""How many bytes DeepEP's buffers and tokens take. Lint counts with the same formulas.

Their sources stand beside the limits that use them, in docs/rules-kernels.md.
"""

from __future__ import annotations

GROUP = 8
"""Ranks of one NVLink group in V1 (``LEGACY_NUM_MAX_NVL_PEERS``)."""
V1_DEFAULT_SMS = 24
"""SMs of V1 where ``num_sms`` is not given."""
INT_MAX = 2**31 - 1

WORD = 16
METADATA = 8
"""V1's ``SourceMeta``: the token's origin."""
TOPK_ROOM, SCALE_ROOM = 128, 128
"""V1 sizes its buffers for so many selections and scales per token."""
BARRIER = 8
ELASTIC_ALIGNMENT = 32
ELASTIC_CHANNELS = 8 * 160


def aligned(value: int, step: int) -> int:
    """Rounds up to a multiple."""
    return -(-value // step) * step


def internode_token(hidden: int, topk: int, element_bytes: int) -> int:
    """Bytes of a token with its metadata in V1's internode kernels, in dispatch or combine."""
    scales = hidden // 128 if element_bytes == 1 else 0
    dispatch = aligned(hidden * element_bytes + METADATA + 4 * scales + 8 * topk, WORD)
    combine = aligned(2 * hidden + METADATA + 4 * topk, WORD)
    return max(dispatch, combine)


def nvlink_buffer(hidden: int, ranks: int, sms: int, receive_tokens: int) -> int:
    """Bytes of V1's NVLink buffer for one default configuration."""
    channels, peers, groups = sms // 2, min(ranks, GROUP), max(ranks // GROUP, 1)
    token = 2 * hidden + METADATA + TOPK_ROOM * (8 + 4) + SCALE_ROOM * 4
    return aligned(channels * peers * ((2 * groups + 3) * 4 + receive_tokens * token), 128)


def rdma_buffer(hidden: int, ranks: int, sms: int, send_tokens: int) -> int:
    """Bytes of V1's RDMA buffer for one default configuration."""
    channels, groups = sms // 2, ranks // GROUP
    token = 2 * hidden + METADATA + TOPK_ROOM * (8 + 4) + SCALE_ROOM * 4 + WORD
    receive_tokens = aligned(128, send_tokens)
    return aligned(channels * groups * 2 * ((GROUP * 2 + 2) * 4 + receive_tokens * token), 128)


def low_latency_buffer(tokens: int, hidden: int, experts: int) -> int:
    """Bytes of V1's low-latency buffer on each rank, as ``get_low_latency_rdma_size_hint`` has it."""
    scales = hidden // 128
    dispatch = WORD + max(2 * hidden, hidden + 4 * scales)
    combine = 4 * scales + 2 * hidden
    send = max(tokens * dispatch, experts * tokens * combine)
    receive = experts * tokens * max(dispatch, combine)
    total = 2 * send + 2 * receive + 2 * aligned(4 * experts, 128)
    return (total + 128) // 128 * 128


def low_latency_received(tokens: int, hidden: int, experts: int, element_bytes: int) -> int:
    """Bytes of the tensor that low-latency dispatch returns on each rank."""
    return experts * tokens * hidden * element_bytes


def elastic_token(hidden_bytes: int, scale_bytes: int, topk: int, *, metadata: bool, barrier: bool) -> int:
    """Bytes of a token in V2."""
    extra = topk * 8 + ((1 + topk) * 4 if metadata else 0)
    parts = (hidden_bytes, scale_bytes, extra, BARRIER if barrier else 0)
    return sum(aligned(part, ELASTIC_ALIGNMENT) for part in parts)


def elastic_buffer(
    tokens: int, hidden: int, topk: int, element_bytes: int, hosts: int, ranks_per_host: int
) -> int:
    """Bytes of V2's buffer on each rank, in hybrid mode with multiple reduction (the defaults)."""
    scale_bytes = -(-hidden // 32) * 4 if element_bytes == 1 else 0
    out = elastic_token(hidden * element_bytes, scale_bytes, topk, metadata=True, barrier=False)
    back = elastic_token(2 * hidden, 0, topk, metadata=False, barrier=False)
    if hosts == 1:
        return max(out * ranks_per_host * tokens, back * min(ranks_per_host, topk) * tokens)
    dispatch = out * (ranks_per_host * hosts * tokens + tokens + hosts * (tokens + ELASTIC_CHANNELS))
    combine = back * (
        min(ranks_per_host, topk) * hosts * tokens
        + min(hosts, topk) * tokens
        + hosts * (tokens + ELASTIC_CHANNELS)
    )
    return max(dispatch, combine)


def elastic_shared_memory(
    hidden: int, topk: int, experts: int, element_bytes: int, hosts: int, ranks: int
) -> int:
    """Bytes that V2 needs on an SM: a token and its counters, on several hosts for two kinds of warps."""
    warps = 1 if hosts == 1 else 2
    scale_bytes = hidden // 128 * 4 if element_bytes == 1 else 0
    counters = aligned(ranks + experts, 128) * 4
    out = elastic_token(hidden * element_bytes, scale_bytes, topk, metadata=True, barrier=True)
    back = elastic_token(2 * hidden, 0, topk, metadata=False, barrier=True)
    return max(counters + warps * out, warps * back)
