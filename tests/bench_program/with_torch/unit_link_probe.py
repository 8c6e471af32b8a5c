"""From what each rank saw in each round to a time for each link."""

import unittest

from deepep_bench.link_probe import LARGEST, SMALLEST, bytes_per_link, links_json
from worlds import config, world

RANKS = 5


def rounds_of(link: dict) -> list:
    """What the ranks see where links take 1 s, or what ``link`` says: the later of sending and receiving."""

    def seconds(sender: int, receiver: int) -> float:
        return max(link.get((sender, receiver), 1.0), link.get(sender, 1.0), link.get((None, receiver), 1.0))

    return [
        [
            max(seconds(rank, (rank + step) % RANKS), seconds((rank - step) % RANKS, rank))
            for step in range(1, RANKS)
        ]
        for rank in range(RANKS)
    ]


class LinkTimes(unittest.TestCase):
    def matrix(self, link: dict) -> list:
        hosts = [f"node{rank}" for rank in range(RANKS)]
        return links_json(config(), world(size=RANKS, local_size=1), hosts, rounds_of(link), "gloo")["time_s"]

    def test_a_slow_sender_is_a_row(self) -> None:
        found = self.matrix({2: 3.0})
        self.assertEqual(found[2], [3.0, 3.0, None, 3.0, 3.0])
        self.assertEqual([row for rank, row in enumerate(found) if rank != 2 and 3.0 in row], [])

    def test_a_slow_receiver_is_a_column(self) -> None:
        found = self.matrix({(None, 1): 3.0})
        self.assertEqual([row[1] for row in found], [3.0, None, 3.0, 3.0, 3.0])
        self.assertEqual({cell for row in found for at, cell in enumerate(row) if at != 1}, {1.0, None})

    def test_a_slow_link_is_one_cell(self) -> None:
        found = self.matrix({(3, 4): 3.0})
        self.assertEqual(
            [(s, d) for s, row in enumerate(found) for d, cell in enumerate(row) if cell == 3.0], [(3, 4)]
        )

    def test_bytes_are_a_dispatchs_within_bounds(self) -> None:
        self.assertEqual(bytes_per_link(config(tokens=1), world()), SMALLEST)
        self.assertEqual(bytes_per_link(config(tokens=100_000, hidden_size=7168), world()), LARGEST)
        self.assertEqual(bytes_per_link(config(tokens=1024), world()), 1024 * 512)


if __name__ == "__main__":
    unittest.main()
