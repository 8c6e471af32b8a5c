"""Who gets what: from a routing to the rows that a rank sends, in sending order."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class SendLayout:
    """Rows in sending order (by destination, then by token).

    token int64 [rows]: the local token of each row. per_rank int64 [ranks]: rows for each rank.
    per_expert int64 [experts]: selections of each expert. selection int64 [rows] or an empty tensor: position
    in the flattened topk tensors, low latency only.
    """

    token: torch.Tensor
    per_rank: torch.Tensor
    per_expert: torch.Tensor
    selection: torch.Tensor


def once_per_rank(topk_idx: torch.Tensor, num_experts: int, world_size: int) -> SendLayout:
    """Standard mode: a token goes once to each rank that holds at least one of its experts."""
    wanted = torch.zeros((world_size, topk_idx.size(0)), dtype=torch.bool, device=topk_idx.device)
    wanted.t().scatter_(1, topk_idx // (num_experts // world_size), True)
    return SendLayout(
        token=wanted.nonzero()[:, 1],
        per_rank=wanted.sum(dim=1),
        per_expert=torch.bincount(topk_idx.flatten(), minlength=num_experts),
        selection=topk_idx.new_empty(0),
    )


def once_per_expert(topk_idx: torch.Tensor, num_experts: int, world_size: int) -> SendLayout:
    """Low latency: a token goes once to each expert that it selected; rows by expert, then by token."""
    flat = topk_idx.flatten()
    selection = torch.sort(flat, stable=True).indices
    per_expert = torch.bincount(flat, minlength=num_experts)
    return SendLayout(
        token=torch.div(selection, topk_idx.size(1), rounding_mode="floor"),
        per_rank=per_expert.view(world_size, -1).sum(dim=1),
        per_expert=per_expert,
        selection=selection,
    )
