"""Routing and tokens: seeded, complete, and the same everywhere."""

import hashlib
import unittest

import torch
from deepep_bench.routing import expert_columns, route
from deepep_bench.tokens import TokenPool
from worlds import config


def digest(tensor: torch.Tensor) -> str:
    return hashlib.sha256(bytes(tensor.contiguous().view(torch.uint8).flatten().tolist())).hexdigest()[:16]


class Routing(unittest.TestCase):
    def test_the_same_seed_and_rank_give_the_same_routing(self) -> None:
        one, two = route(config(), 1, 4), route(config(), 1, 4)
        self.assertTrue(torch.equal(one.topk_idx, two.topk_idx))
        self.assertTrue(torch.equal(one.topk_weights, two.topk_weights))

    def test_the_routing_is_the_same_on_every_machine(self) -> None:
        # frozen: a change here changes every figure that anyone compares across versions
        routing = route(config(shuffle_columns=True), 2, 4)
        self.assertEqual(digest(routing.topk_idx), "ed3ad84536676836")
        self.assertEqual(digest(routing.topk_weights), "16220c448c86e4b5")
        rows = TokenPool(config(), torch.device("cpu")).rows(torch.arange(5))
        self.assertEqual(digest(rows), "1941813369508a4f")

    def test_seeds_ranks_and_large_seeds_differ(self) -> None:
        base = route(config(), 0, 4).topk_idx
        for other in (
            route(config(seed=4), 0, 4),
            route(config(), 1, 4),
            route(config(seed=3 + 2**32), 0, 4),
        ):
            self.assertFalse(torch.equal(base, other.topk_idx))

    def test_every_token_selects_different_experts(self) -> None:
        routing = route(config(tokens=500, num_topk=16), 0, 4)
        for row in routing.topk_idx.tolist():
            self.assertEqual(sorted(row), list(range(16)))

    def test_weights_are_positive_and_no_larger_than_an_equal_share(self) -> None:
        weights = route(config(), 0, 4).topk_weights
        self.assertEqual(weights.dtype, torch.float32)
        self.assertGreater(float(weights.min()), 0.12)
        self.assertLessEqual(float(weights.max()), 0.25)

    def test_shuffled_columns_are_a_permutation_that_the_seed_decides(self) -> None:
        plain, shuffled = config(), config(shuffle_columns=True)
        columns = expert_columns(shuffled)
        self.assertEqual(expert_columns(plain).tolist(), list(range(16)))
        self.assertEqual(sorted(columns.tolist()), list(range(16)))
        self.assertNotEqual(columns.tolist(), list(range(16)))
        self.assertTrue(torch.equal(route(shuffled, 1, 4).topk_idx, columns[route(plain, 1, 4).topk_idx]))
        self.assertFalse(torch.equal(columns, expert_columns(config(shuffle_columns=True, seed=4))))


class Tokens(unittest.TestCase):
    def test_a_row_depends_on_its_number_alone(self) -> None:
        pool = TokenPool(config(), torch.device("cpu"))
        self.assertTrue(torch.equal(pool.rows(torch.tensor([9, 4]))[1], pool.rows(torch.tensor([4]))[0]))

    def test_rows_differ(self) -> None:
        rows = TokenPool(config(), torch.device("cpu")).rows(torch.arange(2000))
        self.assertEqual(torch.unique(rows.view(torch.int16), dim=0).size(0), 2000)

    def test_values_are_about_normal(self) -> None:
        rows = TokenPool(config(), torch.device("cpu")).rows(torch.arange(500)).float()
        self.assertEqual(rows.shape, (500, 256))
        self.assertLess(abs(float(rows.mean())), 0.05)
        self.assertLess(abs(float(rows.std()) - 1.0), 0.05)


if __name__ == "__main__":
    unittest.main()
