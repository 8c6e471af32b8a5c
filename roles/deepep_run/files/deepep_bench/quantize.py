"""fp8 (e4m3) with one scale per token and 128 channels, as DeepEP's dispatch takes and makes it."""

from __future__ import annotations

import torch

from .config import CHANNELS_PER_SCALE

E4M3_MAX = 448.0
SMALLEST_AMAX = 1e-4  # a block of zeros still gets a scale above zero
_UE8M0_BIAS = 127


def quantize(
    x: torch.Tensor, round_scale: bool = False, use_ue8m0: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """float8_e4m3fn [n, hidden] and scales [n, hidden / 128]; value = fp8 * scale.

    Scales are float32, with ``round_scale`` powers of two, with ``use_ue8m0`` biased exponents as uint8.
    """
    blocks = x.float().view(x.size(0), x.size(1) // CHANNELS_PER_SCALE, CHANNELS_PER_SCALE)
    amax = blocks.abs().amax(dim=2).clamp_(min=SMALLEST_AMAX)
    scales = amax / E4M3_MAX
    if round_scale:
        mantissa, exponent = torch.frexp(scales)  # scales = mantissa * 2^exponent, mantissa in [0.5, 1)
        exponent = exponent - (mantissa == 0.5).to(exponent.dtype)  # exact powers of two stay
        scales = torch.ldexp(torch.ones_like(scales), exponent)
    values = (blocks / scales.unsqueeze(2)).view(x.shape).to(torch.float8_e4m3fn)
    if use_ue8m0:
        return values, (exponent + _UE8M0_BIAS).to(torch.uint8)
    return values, scales


def scale_values(scales: torch.Tensor) -> torch.Tensor:
    """float32 scales, whichever way they were stored."""
    if scales.dtype == torch.uint8:
        exponent = scales.to(torch.int32) - _UE8M0_BIAS
        return torch.ldexp(torch.ones_like(exponent, dtype=torch.float32), exponent)
    return scales


def dequantize(x: torch.Tensor, scales: torch.Tensor | None) -> torch.Tensor:
    """float32 [n, hidden] of bfloat16 rows (no scales) or of fp8 rows with theirs."""
    if scales is None:
        return x.float()
    blocks = x.float().view(x.size(0), x.size(1) // CHANNELS_PER_SCALE, CHANNELS_PER_SCALE)
    return (blocks * scale_values(scales).unsqueeze(2)).view(x.shape)
