"""Rows between ranks, by handing everything to everybody."""

from __future__ import annotations

import io
import os

import torch
import torch.distributed as dist

INDEX = torch.int32 if os.environ.get("DEEPEP_STAND_IN_INDEX") == "32" else torch.int64


def everybody(value):
    """Every rank's value, in rank order."""
    packed = io.BytesIO()
    torch.save(value, packed)  # pickle alone does not know fp8
    found = [b""] * dist.get_world_size()
    dist.all_gather_object(found, packed.getvalue())
    return [torch.load(io.BytesIO(each), weights_only=False) for each in found]


def as_bytes(rows):
    """uint8 view: indexing does not know every data type."""
    return rows.contiguous().view(torch.uint8)


def pick(rows, index):
    """rows[index] of any data type."""
    width = rows.size(1)
    picked = as_bytes(rows)[index]
    return picked.view(rows.dtype).view(index.numel(), width)


def split(x):
    """(values, scales or None) of what dispatch is given."""
    values, scales = x if isinstance(x, tuple) else (x, None)
    assert values.dim() == 2
    assert values.is_contiguous()
    if scales is None:
        assert values.dtype == torch.bfloat16
    else:
        assert values.dtype == torch.float8_e4m3fn
        assert scales.dtype in (torch.float32, torch.int32)
        columns = values.size(1) // (128 if scales.dtype == torch.float32 else 512)
        assert scales.shape == (values.size(0), columns)
    return values, scales


def received_rows(parts, scales, rows):
    """(values, scales) or values of the given (source, token) pairs."""
    values = torch.cat(
        [pick(parts[source], torch.tensor([token])) for source, token in rows] or [parts[0][:0]]
    )
    if scales[0] is None:
        return values
    return values, torch.cat([scales[source][token : token + 1] for source, token in rows] or [scales[0][:0]])


def local_routing(idx, weights, rows, first, count, mask_weights):
    """topk_idx with local experts or -1, weights, and tokens per local expert."""
    topk = idx[0].size(1)
    got_idx = torch.stack([idx[s][t] for s, t in rows]) if rows else torch.empty((0, topk), dtype=INDEX)
    got = torch.stack([weights[s][t] for s, t in rows]) if rows else torch.empty((0, topk))
    here = (got_idx >= first) & (got_idx < first + count)
    local = torch.where(here, got_idx - first, torch.full_like(got_idx, -1))
    if mask_weights:
        got = torch.where(here, got, torch.zeros_like(got))
    return local, got, [int((local == expert).sum()) for expert in range(count)]


def summed(y, rows, tokens, hidden):
    """bfloat16 [tokens, hidden]: every rank's rows added to this rank's tokens."""
    rank = dist.get_rank()
    out = torch.zeros((tokens, hidden))
    for theirs, sources in everybody((y, rows)):
        for row, (source, token) in enumerate(sources):
            if source == rank:
                out[token] += theirs[row].float()
    return out.to(torch.bfloat16)
