"""Layout and traffic: against loops over tokens."""

import unittest

from deepep_bench.layout import once_per_expert, once_per_rank
from deepep_bench.matrix import token_matrix, token_matrix_kb
from deepep_bench.routing import route
from deepep_bench.traffic import dispatch_row_bytes, rows_between_ranks, traffic_by_operation
from worlds import config


class Layout(unittest.TestCase):
    def test_once_per_rank(self) -> None:
        idx = route(config(), 0, 4).topk_idx
        layout = once_per_rank(idx, 16, 4)
        expected = [
            (rank, t) for rank in range(4) for t in range(24) if any(e // 4 == rank for e in idx[t].tolist())
        ]
        self.assertEqual(layout.token.tolist(), [token for _, token in expected])
        self.assertEqual(layout.per_rank.tolist(), [sum(r == rank for r, _ in expected) for rank in range(4)])
        flat = idx.flatten().tolist()
        self.assertEqual(layout.per_expert.tolist(), [flat.count(expert) for expert in range(16)])

    def test_once_per_expert(self) -> None:
        idx = route(config(), 0, 4).topk_idx
        layout = once_per_expert(idx, 16, 4)
        expected = [(e, t) for e in range(16) for t in range(24) if e in idx[t].tolist()]
        self.assertEqual(layout.token.tolist(), [token for _, token in expected])
        self.assertEqual(idx.flatten()[layout.selection].tolist(), [expert for expert, _ in expected])
        self.assertEqual(
            layout.per_rank.tolist(), [sum(e // 4 == rank for e, _ in expected) for rank in range(4)]
        )

    def test_ranks_without_tokens(self) -> None:
        idx = route(config(num_topk=1, tokens=1), 0, 4).topk_idx
        layout = once_per_rank(idx, 16, 16)
        self.assertEqual(sum(layout.per_rank.tolist()), 1)
        self.assertEqual(layout.token.tolist(), [0])


class Traffic(unittest.TestCase):
    def rows(self, mode: str) -> list:
        given = config(mode=mode)
        return rows_between_ranks(given, [route(given, rank, 4) for rank in range(4)])

    def test_rows_between_ranks(self) -> None:
        routings = [route(config(), rank, 4) for rank in range(4)]
        for source in range(4):
            for destination in range(4):
                hits = [[e // 4 == destination for e in row] for row in routings[source].topk_idx.tolist()]
                self.assertEqual(self.rows("standard")[source][destination], sum(any(row) for row in hits))
                self.assertEqual(self.rows("low_latency")[source][destination], sum(sum(row) for row in hits))

    def test_bytes_of_a_row(self) -> None:
        self.assertEqual(dispatch_row_bytes(config()), 512)
        self.assertEqual(dispatch_row_bytes(config(data_type="fp8")), 256 + 2 * 4)
        self.assertEqual(
            dispatch_row_bytes(config(data_type="fp8", round_scale=True, use_ue8m0=True)), 256 + 2
        )

    def test_combine_is_the_way_back(self) -> None:
        given = config(data_type="fp8")
        traffic = traffic_by_operation(given, self.rows("standard"))
        rows = sum(map(sum, self.rows("standard")))
        self.assertEqual(traffic["dispatch"].total, rows * 264)
        self.assertEqual(traffic["combine"].total, rows * 512)
        self.assertEqual(traffic["both"].total, rows * (264 + 512))
        for one in traffic.values():
            self.assertEqual(sum(one.sent), sum(one.received))
        factor = 512 / 264
        self.assertEqual(traffic["combine"].sent, [n * factor for n in traffic["dispatch"].received])

    def test_matrices_are_plain_numbers(self) -> None:
        routings = [route(config(), rank, 4) for rank in range(4)]
        numbers = [line.split() for line in token_matrix(routings).splitlines() if not line.startswith("#")]
        self.assertEqual(len(numbers), 96)
        self.assertEqual([int(n) for n in numbers[24]], routings[1].topk_idx[0].tolist())
        kb = [
            line.split() for line in token_matrix_kb([[1, 2], [0, 1000]], 512).splitlines() if line[0] != "#"
        ]
        self.assertEqual(kb, [["0.512", "1.024"], ["0.000", "512.000"]])


if __name__ == "__main__":
    unittest.main()
