"""fp8 with scales: against a slow and plain computation."""

import math
import unittest

import torch
from deepep_bench.quantize import dequantize, quantize, scale_values


def sample() -> torch.Tensor:
    x = torch.randn((7, 384), generator=torch.Generator().manual_seed(1))
    x[1] *= 1e-3
    x[2] *= 1e4
    x[3, :128] = 0.0
    x[4, 5] = 448.0
    return x.to(torch.bfloat16)


class Quantize(unittest.TestCase):
    def test_shapes_and_types(self) -> None:
        values, scales = quantize(sample())
        self.assertEqual((values.dtype, tuple(values.shape)), (torch.float8_e4m3fn, (7, 384)))
        self.assertEqual((scales.dtype, tuple(scales.shape)), (torch.float32, (7, 3)))

    def test_scales_are_the_largest_value_over_448(self) -> None:
        x = sample()
        _, scales = quantize(x)
        for row in range(7):
            for block in range(3):
                largest = max(abs(v) for v in x[row, block * 128 : block * 128 + 128].tolist())
                self.assertAlmostEqual(
                    scales[row, block].item() / (max(largest, 1e-4) / 448.0), 1.0, places=6
                )

    def test_rounded_scales_are_the_next_power_of_two(self) -> None:
        x = sample()
        _, plain = quantize(x)
        _, rounded = quantize(x, round_scale=True)
        for exact, power in zip(plain.flatten().tolist(), rounded.flatten().tolist(), strict=True):
            self.assertEqual(power, 2.0 ** math.ceil(math.log2(exact)))
        self.assertEqual(rounded[4, 0].item(), 1.0)  # 448 / 448 is a power of two already and stays

    def test_ue8m0_holds_the_same_scales(self) -> None:
        x = sample()
        values, rounded = quantize(x, round_scale=True)
        same, bits = quantize(x, round_scale=True, use_ue8m0=True)
        self.assertEqual(bits.dtype, torch.uint8)
        self.assertTrue(torch.equal(values.view(torch.uint8), same.view(torch.uint8)))
        self.assertTrue(torch.equal(scale_values(bits), rounded))

    def test_the_round_trip_is_within_half_a_step(self) -> None:
        x = sample().float()
        for options in ((False, False), (True, False), (True, True)):
            values, scales = quantize(sample(), *options)
            back = dequantize(values, scales)
            step = scale_values(scales).repeat_interleave(128, dim=1)
            bound = torch.maximum(x.abs() / 16, step * 2.0**-10) * (1 + 1e-5)
            self.assertTrue(bool(((back - x).abs() <= bound).all()), options)
            self.assertTrue(bool(torch.isfinite(back).all()))

    def test_zeros_stay_zero(self) -> None:
        values, scales = quantize(torch.zeros((2, 128), dtype=torch.bfloat16))
        self.assertTrue(bool((dequantize(values, scales) == 0).all()))
        self.assertTrue(bool((scales > 0).all()))

    def test_no_tokens_are_fine(self) -> None:
        values, scales = quantize(torch.zeros((0, 128), dtype=torch.bfloat16))
        self.assertEqual(tuple(dequantize(values, scales).shape), (0, 128))

    def test_bfloat16_passes_through(self) -> None:
        self.assertTrue(torch.equal(dequantize(sample(), None), sample().float()))


if __name__ == "__main__":
    unittest.main()
