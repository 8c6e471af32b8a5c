"""Routing and tokens: seeded, complete, and the same everywhere."""

import hashlib
import tempfile
import unittest
from pathlib import Path

import torch
from deepep_bench.config import check_for_world
from deepep_bench.errors import RefusedError
from deepep_bench.matrix import token_matrix
from deepep_bench.routing import digest as routing_digest
from deepep_bench.routing import expert_columns, reached_imbalance, route, trace_digest
from deepep_bench.tokens import TokenPool
from deepep_bench.traffic import rows_between_ranks
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


class Kinds(unittest.TestCase):
    def test_group_limited_keeps_to_the_best_groups(self) -> None:
        given = config(tokens=300, num_experts=32, routing="group_limited", num_groups=8, num_topk_groups=2)
        routing = route(given, 1, 4)
        groups = torch.div(routing.topk_idx, 4, rounding_mode="floor")
        self.assertTrue(all(len(set(row)) <= 2 for row in groups.tolist()))
        # the uniform routing has the same scores, so its best expert is kept wherever its group is
        self.assertGreater(len(set(groups.flatten().tolist())), 7)
        self.assertEqual(digest(routing.topk_idx), "a88ae3ab2e99bdbf")

    def test_unbalanced_reaches_the_ratio(self) -> None:
        given = config(tokens=4000, num_experts=64, routing="unbalanced", imbalance=1.8)
        routings = [route(given, rank, 4) for rank in range(4)]
        tokens = [sum(row) for row in zip(*rows_between_ranks(given, routings), strict=True)]
        self.assertAlmostEqual(tokens[0] * 3 / sum(tokens[1:]), 1.8, delta=0.05)
        even = config(tokens=40, routing="unbalanced", imbalance=1.0)
        uniform = route(config(tokens=40), 0, 4)
        self.assertTrue(torch.equal(route(even, 0, 4).topk_idx, uniform.topk_idx))

    def test_shuffled_groups_stay_whole(self) -> None:
        sizes = {"tokens": 300, "num_experts": 32, "num_groups": 8, "num_topk_groups": 2}
        given = config(routing="group_limited", shuffle_columns=True, **sizes)
        columns = expert_columns(given)
        self.assertEqual(sorted(columns.tolist()), list(range(32)))
        groups = torch.div(columns.view(8, 4), 4, rounding_mode="floor")
        self.assertTrue((groups == groups[:, :1]).all())
        self.assertNotEqual(groups[:, 0].tolist(), list(range(8)))
        self.assertNotEqual((columns.view(8, 4) % 4).tolist(), [list(range(4))] * 8)
        plain = route(config(routing="group_limited", **sizes), 1, 4).topk_idx
        shuffled = route(given, 1, 4).topk_idx
        self.assertTrue(torch.equal(shuffled, columns[plain]))
        self.assertTrue(all(len({expert // 4 for expert in row}) <= 2 for row in shuffled.tolist()))

    def test_the_largest_ratio_is_reached_and_a_larger_one_refused(self) -> None:
        sizes = {"num_experts": 64, "num_topk": 8, "routing": "unbalanced"}  # 4 experts on each of 16 ranks
        for imbalance in (4.0, 3.0):
            given = config(tokens=500, imbalance=imbalance, **sizes)
            check_for_world(given, 16)
            reached = reached_imbalance(given, [route(given, rank, 16) for rank in range(16)])
            self.assertAlmostEqual(reached, imbalance, delta=0.15)
        with self.assertRaisesRegex(
            RefusedError, "imbalance = 4.4: with 4 experts on each of 16 ranks and .*"
        ):
            check_for_world(config(imbalance=4.4, **sizes), 16)
        check_for_world(config(imbalance=900.0, **{**sizes, "num_topk": 4}), 16)  # nothing goes elsewhere
        with self.assertRaises(RefusedError):
            check_for_world(config(imbalance=1.1, **sizes), 1)

    def test_shuffled_columns_spread_the_favoured_experts_and_that_is_told(self) -> None:
        sizes = {"tokens": 1000, "num_experts": 64, "routing": "unbalanced", "imbalance": 2.0}
        plain, shuffled = (config(shuffle_columns=each, **sizes) for each in (False, True))
        self.assertAlmostEqual(reached_imbalance(plain, [route(plain, r, 4) for r in range(4)]), 2, delta=0.1)
        self.assertLess(reached_imbalance(shuffled, [route(shuffled, r, 4) for r in range(4)]), 1.5)

    def test_a_recorded_routing_is_routed_again(self) -> None:
        recorded = [route(config(), rank, 4) for rank in range(4)]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "token_matrix.txt"
            path.write_text(token_matrix(recorded))
            again = config(routing="trace", routing_trace=str(path))
            replayed = [route(again, rank, 4) for rank in range(4)]
            self.assertEqual(routing_digest(recorded), routing_digest(replayed))
            self.assertNotEqual(routing_digest(recorded), routing_digest(replayed[::-1]))
            self.assertEqual(trace_digest(again), hashlib.sha256(path.read_bytes()).hexdigest())
            for changes, text in (
                ({"tokens": 25}, "has 96 tokens, 4 ranks with 25 each need 100"),
                ({"num_topk": 3}, "must select num_topk = 3 different experts"),
                ({"num_experts": 8}, "experts are 0 to 7"),
            ):
                given = config(**{"routing": "trace", "routing_trace": str(path), **changes})
                with self.assertRaises(RefusedError) as refused:
                    [route(given, rank, 4) for rank in range(4)]
                self.assertIn(text, str(refused.exception))

    def test_a_trace_that_cannot_be_read_is_refused(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "trace.txt"
            given = config(routing="trace", routing_trace=str(path))
            with self.assertRaisesRegex(RefusedError, "cannot be read on this host"):
                route(given, 0, 4)
            path.write_text("1 2 3 x\n")
            with self.assertRaisesRegex(RefusedError, "trace.txt:1: not a line of whole numbers"):
                route(given, 0, 4)


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
