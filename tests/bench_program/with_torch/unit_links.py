"""Links, bytes on the wire, kernel limits and GPU evidence: what needs no GPU to be right."""

import tempfile
import unittest
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from deepep_bench import report
from deepep_bench.backends.deepep_v1 import DeepEPV1Backend
from deepep_bench.backends.deepep_v2 import DeepEPV2Backend, order_of_unsorted_topk
from deepep_bench.errors import RefusedError
from deepep_bench.gpu import _foreign, _range
from deepep_bench.kernel_limits import limits_of, v1_problems, v2_problems
from deepep_bench.link_counters import Carried as Counted
from deepep_bench.link_counters import LinkCounters, parse_nvlink
from deepep_bench.links import TRANSPORT, RdmaPort, rdma_ports, refuse_unless_connected, settle_nvshmem
from deepep_bench.modes.base import Measurement
from deepep_bench.routing import route
from deepep_bench.traffic import rows_between_ranks
from deepep_bench.wire import LinkRows, rows_by_link
from worlds import config, world

UP = RdmaPort("mlx5_0", "1", "ACTIVE", "400 Gb/sec (4X NDR)", "InfiniBand")
DOWN = RdmaPort("mlx5_0", "1", "DOWN", "10 Gb/sec", "InfiniBand")
ONE_HOST = world(size=4, local_size=4)
LOW_LATENCY = {"mode": "low_latency", "backend": "deepep_v1"}


class Links(unittest.TestCase):
    def test_ports_are_read_from_the_kernel(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            port = Path(folder) / "mlx5_3" / "ports" / "1"
            port.mkdir(parents=True)
            (port / "state").write_text("4: ACTIVE\n")
            (port / "rate").write_text("400 Gb/sec (4X NDR)\n")
            [found] = rdma_ports(Path(folder))
        self.assertEqual(found, RdmaPort("mlx5_3", "1", "ACTIVE", "400 Gb/sec (4X NDR)", "unknown"))
        self.assertTrue(found.active)
        self.assertEqual(rdma_ports(Path("/nowhere")), [])

    def test_without_a_network_only_nvlink_will_do(self) -> None:
        on = config(**LOW_LATENCY, allow_nvlink_for_low_latency=True)
        off = config(**LOW_LATENCY)
        refuse_unless_connected(on, ONE_HOST, [])
        refuse_unless_connected(off, ONE_HOST, [UP])
        refuse_unless_connected(config(), ONE_HOST, [])
        with self.assertRaisesRegex(RefusedError, "needs an active RDMA device .* mlx5_0 port 1 is DOWN"):
            refuse_unless_connected(off, ONE_HOST, [DOWN])
        with self.assertRaisesRegex(RefusedError, "2 hosts without allow_mnnvl .*: none"):
            refuse_unless_connected(on, world(), [])
        refuse_unless_connected(config(allow_mnnvl=True), world(), [])
        with self.assertRaisesRegex(RefusedError, "V1 standard on 16 ranks needs an active RDMA device"):
            refuse_unless_connected(config(allow_mnnvl=True), world(size=16), [], rdma_alone=True)

    def test_nvshmem_is_told_only_where_it_would_stop(self) -> None:
        on = config(**LOW_LATENCY, allow_nvlink_for_low_latency=True)
        environment: dict = {}
        self.assertIn("was set", settle_nvshmem(on, ONE_HOST, [DOWN], environment))
        self.assertEqual(environment, {TRANSPORT: "none"})
        for given, ports, start in (
            (on, [UP], {}),
            (config(), [], {}),
            (on, [], {TRANSPORT: "ibrc"}),
        ):
            environment = dict(start)
            self.assertIsNone(settle_nvshmem(given, ONE_HOST, ports, environment))
            self.assertEqual(environment, start)


class Wire(unittest.TestCase):
    def test_own_share_is_left_out(self) -> None:
        given = config()
        routings = [route(given, rank, 4) for rank in range(4)]
        matrix = rows_between_ranks(given, routings)
        nvl, rdma = rows_by_link(given, routings, matrix, 4, hierarchical=True, nvlink=True)
        self.assertEqual(nvl.sent, [sum(row) - row[rank] for rank, row in enumerate(matrix)])
        self.assertEqual(sum(nvl.received), sum(nvl.sent))
        self.assertEqual(rdma.sent, [0] * 4)

    def test_between_hosts_directly_or_by_way_of_the_same_gpu(self) -> None:
        given = config()
        routings = [route(given, rank, 4) for rank in range(4)]
        matrix = rows_between_ranks(given, routings)
        _, direct = rows_by_link(given, routings, matrix, 2, hierarchical=False, nvlink=True)
        self.assertEqual(direct.sent[0], matrix[0][2] + matrix[0][3])
        nvl, rdma = rows_by_link(given, routings, matrix, 2, hierarchical=True, nvlink=True)
        other = (routings[0].topk_idx >= 8).any(dim=1).sum()
        self.assertEqual(rdma.sent[0], int(other))
        self.assertEqual(rdma.received[2], int(other))
        # rank 0 passes rank 2's tokens for rank 1 on
        self.assertEqual(nvl.sent[0], matrix[0][1] + matrix[2][1])

    def test_every_hop_is_counted_as_by_hand(self) -> None:
        given = config(num_experts=24, num_topk=3)
        routings = [route(given, rank, 12) for rank in range(12)]
        matrix = rows_between_ranks(given, routings)
        sent, received = ([0] * 12, [0] * 12), ([0] * 12, [0] * 12)
        for source, routing in enumerate(routings):
            ranks = [{expert // 2 for expert in row} for row in routing.topk_idx.tolist()]
            self.assertEqual(matrix[source], [sum(rank in each for each in ranks) for rank in range(12)])
            for domain in range(3):
                gateway = domain * 4 + source % 4
                tokens = [each for each in ranks if any(rank // 4 == domain for rank in each)]
                hops = [(source, gateway, len(tokens))]
                hops += [
                    (gateway, rank, sum(rank in each for each in tokens))
                    for rank in range(domain * 4, domain * 4 + 4)
                ]
                for sender, receiver, rows in hops:
                    if sender != receiver:
                        link = int(sender // 4 != receiver // 4)
                        sent[link][sender] += rows
                        received[link][receiver] += rows
        found = rows_by_link(given, routings, matrix, 4, hierarchical=True, nvlink=True)
        self.assertEqual([each.sent for each in found], list(sent))
        self.assertEqual([each.received for each in found], list(received))

    def test_rows_are_counted_once_for_all_records(self) -> None:
        given = config()
        routings = [route(given, rank, 4) for rank in range(4)]
        measurements = [
            Measurement(name, None, "events", lambda: None, baseline=baseline)
            for name in ("dispatch", "combine", "both")
            for baseline in (False, True)
        ]
        rows = rows_between_ranks(given, routings)
        about = report.Circumstances(given, world(), "", {}, [], measurements, routings, rows)
        backend: Any = SimpleNamespace(stand_in=False, hierarchical=True, nvlink_domain=lambda baseline: 2)
        ticks: list = []
        with (
            mock.patch.object(report, "rows_by_link", wraps=rows_by_link) as counted,
            mock.patch.object(report, "_record", return_value={}),
        ):
            self.assertEqual(len(report.records(about, backend, [], ticks.append)), 6)
        self.assertEqual(counted.call_count, 2)
        self.assertGreaterEqual(len(ticks), 6)

    def test_nvlink_may_join_hosts(self) -> None:
        def domains(**changes: Any) -> tuple:
            backend = object.__new__(DeepEPV1Backend)
            backend.config, backend.world = config(**changes), world(size=16, local_size=4)
            return backend.nvlink_domain(), backend.nvlink_domain(baseline=True)

        self.assertEqual(domains(**LOW_LATENCY), (4, 4))
        self.assertEqual(domains(**LOW_LATENCY, allow_mnnvl=True), (16, 16))
        # between groups of 8 V1's standard kernels know RDMA alone
        self.assertEqual(domains(allow_mnnvl=True), (8, 16))

        v2 = object.__new__(DeepEPV2Backend)
        v2._buffer = SimpleNamespace(get_physical_domain_size=lambda: (2, 8))
        self.assertEqual(v2.nvlink_domain(), 8)

        given = config(**LOW_LATENCY, num_experts=16)
        routings = [route(given, rank, 16) for rank in range(16)]
        matrix = rows_between_ranks(given, routings)
        apart, joined = (rows_by_link(given, routings, matrix, size, False, nvlink=True) for size in (4, 16))
        self.assertGreater(sum(apart[1].sent), 0)
        self.assertEqual(sum(joined[1].sent), 0)
        self.assertEqual(sum(joined[0].sent), sum(apart[0].sent) + sum(apart[1].sent))

    def test_the_busiest_direction_counts(self) -> None:
        rows = LinkRows([3, 1], [1, 3])
        self.assertEqual(rows.busiest(10, 0), 30)
        self.assertEqual(rows.busiest(10, 1), 31)


OLD, NEW = limits_of("1.2.1", False), limits_of("2.1.0", True)


class Limits(unittest.TestCase):
    def test_what_runs_has_no_problem(self) -> None:
        wide = config(hidden_size=7168, num_experts=256, num_topk=8)
        self.assertEqual(v1_problems(wide, ONE_HOST, OLD), [])
        self.assertEqual(v2_problems(wide, ONE_HOST, NEW), [])
        low = config(hidden_size=7168, num_experts=256, num_topk=8, **LOW_LATENCY)
        self.assertEqual(v1_problems(low, ONE_HOST, OLD), [])

    def test_each_limit_is_told(self) -> None:
        low = {"hidden_size": 2048, "data_type": "fp8", **LOW_LATENCY}
        for given, where, text in (
            (config(num_experts=12), world(size=6, local_size=6), "2, 4 or 8 ranks"),
            (config(num_experts=16), world(size=16, local_size=4), "8 ranks of a group on one host"),
            (config(num_experts=16), world(size=8, local_size=4), "8 ranks of a group on one host"),
            (config(num_sms=134), ONE_HOST, "at least 2 and at most 132"),
            (config(**{**low, "hidden_size": 3072}), ONE_HOST, "has kernels for"),
            (config(dispatch_chunks="9999"), ONE_HOST, "fewer than 256"),
            (config(num_sms=23), ONE_HOST, "odd"),
            (config(**{**low, "num_topk": 12}), ONE_HOST, "at most 11"),
            (config(**{**low, "tokens": 512}), ONE_HOST, "hold 511"),
            (config(**{**low, "tokens": 3, "num_experts": 15}), world(size=3, local_size=3), "divide by 4"),
            (config(**{**low, "hidden_size": 2304}), ONE_HOST, "has kernels for"),
        ):
            with self.subTest(text):
                self.assertIn(text, "\n".join(v1_problems(given, where, OLD, 132)))
        self.assertIn("multiple of 256", "\n".join(v2_problems(config(hidden_size=384), ONE_HOST, NEW)))


# in the form that nvidia-smi has had since its option -gt exists; not recorded from a GPU
NVLINK = """GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-00000000-0000-0000-0000-00000000000{gpu})
\t Link 0: Data Tx: {sent} KiB
\t Link 0: Data Rx: {received} KiB
\t Link 1: Data Tx: {sent} KiB
\t Link 1: Data Rx: N/A
"""


class Carried(unittest.TestCase):
    def test_links_of_a_gpu_are_added(self) -> None:
        text = NVLINK.format(gpu=0, sent=100, received=7) + NVLINK.format(gpu=1, sent=0, received=0)
        found = parse_nvlink(text)
        self.assertEqual(list(found.values()), [Counted(200 * 1024, 7 * 1024), Counted(0, 0)])
        self.assertEqual(parse_nvlink("GPU 0: N/A\n\t Link 0: <inactive>\n"), {})

    def test_what_was_carried_since_the_beginning(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            root = Path(name)
            program = root / "nvidia-smi"
            port = root / "infiniband/mlx5_0/ports/1/counters"
            port.mkdir(parents=True)

            def tell(kib: int, words: int) -> None:
                text = NVLINK.format(gpu=0, sent=kib, received=kib) + NVLINK.format(gpu=1, sent=9, received=9)
                program.write_text(f"#!/bin/sh\ncat <<'END'\n{text}END\n")
                program.chmod(0o700)
                for each in ("port_xmit_data", "port_rcv_data"):
                    (port / each).write_text(f"{words}\n")

            tell(1000, 50)
            counters = LinkCounters(str(program), root / "infiniband")
            counters.begin()
            tell(1000 + 4096, 60)
            found = counters.carried({"GPU-00000000-0000-0000-0000-000000000000"})
        self.assertEqual(found["nvlink"], {"sent_bytes": 2 * 4096 * 1024, "received_bytes": 4096 * 1024})
        self.assertEqual(found["rdma"], {"sent_bytes": 40, "received_bytes": 40})
        self.assertEqual(found["used"], ["nvlink"])
        self.assertGreater(found["nvlink_ever_bytes"], 3 * 4096 * 1024)

    def test_what_nobody_counts_is_null(self) -> None:
        counters = LinkCounters(None, Path("/nowhere"))
        counters.begin()
        self.assertEqual(
            counters.carried(set()), {"nvlink": None, "rdma": None, "nvlink_ever_bytes": None, "used": []}
        )


class Order(unittest.TestCase):
    def test_experts_stand_as_an_unsorted_topk_leaves_them(self) -> None:
        order = order_of_unsorted_topk(torch.tensor([[9, 2, 5, 1], [3, 7, 0, 4]]))
        self.assertEqual(order.tolist(), [[1, 2, 0, 3], [2, 0, 1, 3]])


class Gpus(unittest.TestCase):
    def test_foreign_processes(self) -> None:
        def process(pid: str, gpu: str = "GPU-a") -> dict:
            return {"gpu_uuid": gpu, "pid": pid, "process_name": "python", "used_gpu_memory": "1"}

        self.assertEqual(_foreign([], [process("5")], {"GPU-a"}, {5}), [])
        self.assertEqual(len(_foreign([process("9")], [process("9"), process("5")], {"GPU-a"}, {5})), 1)
        self.assertEqual(len(_foreign([], [process("5"), process("6")], {"GPU-a"}, {5})), 1)
        # numbers of another name space: one process per GPU is ours
        self.assertEqual(_foreign([], [process("77")], {"GPU-a"}, {5}), [])
        self.assertEqual(_foreign([process("9", "GPU-b")], [], {"GPU-a"}, {5}), [])

    def test_what_is_not_told_is_none(self) -> None:
        self.assertIsNone(_range([{"power.draw": "[N/A]"}], "power.draw"))
        self.assertEqual(_range([{"t": "3"}, {"t": "1.5"}], "t"), [1.5, 3.0])


if __name__ == "__main__":
    unittest.main()
