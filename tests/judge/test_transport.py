"""What the links counted against what had to cross them: counters as real runs and broken hosts have them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from deepep_host.judge import judge_run
from deepep_host.judge.transport import least_bytes

from tests.judge.tree import change_json, make_run, make_session, result_dir, write, write_run

H100 = Path(__file__).parents[2] / "docs" / "h100"
GB = 10**9


def carried(nvlink: float | None, rdma: float | None = None) -> dict[str, Any]:
    """Returns what one host's links counted, in GB each way."""

    def both(size: float | None) -> dict[str, int] | None:
        return None if size is None else {"sent_bytes": int(size * GB), "received_bytes": int(size * GB)}

    return {"nvlink": both(nvlink), "rdma": both(rdma), "used": []}


def judged(
    top: Path, counted: dict[str, dict[str, Any]], run: dict[str, Any] | None = None, **figures: Any
) -> dict[str, Any]:
    """Judges a run of dispatch and combine of 10 GB each, 5 iterations and 2 warm-ups."""
    run = run or make_run(hosts=tuple(counted), ranks_per_host=4, backend="nccl")
    run_dir = write_run(top, run)
    results = run_dir / result_dir(run)
    ranks = range(run["world_size"])
    rows = (" ".join("1.0" for _ in ranks) + "\n" for _ in ranks)
    write(results / "token_matrix_kb.txt", "# made up\n" + "".join(rows))

    def larger(records: list[dict[str, Any]]) -> None:
        for record in records:
            record["bytes"] = {"per_rank": [10 * GB // len(ranks)] * len(ranks), "global": 10 * GB}
            record["global_bw"] = 10 / record["deepep_time"]
            record["total_time"] = 5 * record["time_s"]["mean"]
            record.update(figures)

    change_json(results / "results.json", larger)
    per_host = run["ranks_per_host"]
    write(
        results / "evidence.json",
        {"ranks": [
            {"rank": rank, "host": host["name"]}
            | ({"carried": counted[host["name"]]} if rank % per_host == 0 else {})
            for rank in ranks for host in [run["hosts"][rank // per_host]]
        ]},
    )  # fmt: skip
    return judge_run(run, run_dir, make_session())


def causes(found: dict[str, Any]) -> list[tuple[str, str]]:
    return [(reason["code"], reason["host"]) for reason in found["reasons"]]


class TestNvLink:
    # On one host of 4 ranks 3/4 of 20 GB cross NVLink in each of 7 calls: 105 GB.
    @pytest.mark.parametrize(("counted", "valid"), [(150.0, True), (55.0, True), (50.0, False), (0.0, False)])
    def test_it_carried_the_tokens_or_not(self, tmp_path: Path, counted: float, valid: bool) -> None:
        found = judged(tmp_path, {"node1": carried(counted)}, wire_nvl_bw=20.0)
        assert (found["verdict"], causes(found)) == (
            ("PASS", []) if valid else ("INVALID", [("link-unused", "node1")])
        )
        if not valid:
            (reason,) = found["reasons"]
            assert f"node1: NVLink carried {2 * counted:.3g} GB of 210 GB" in reason["text"]
            assert reason["file"].endswith("evidence.json") and "nvlink -s" in reason["remedy"]

    def test_of_two_hosts_the_one_with_the_broken_link_is_named(self, tmp_path: Path) -> None:
        found = judged(
            tmp_path, {"node1": carried(200.0, 90.0), "node2": carried(0.1, 90.0)},
            wire_nvl_bw=20.0, wire_rdma_bw=20.0,
        )  # fmt: skip
        assert causes(found) == [("link-unused", "node2")]

    def test_tokens_faster_than_pcie_did_cross_it_whatever_was_counted(self, tmp_path: Path) -> None:
        found = judged(tmp_path, {"node1": carried(0.0)}, wire_nvl_bw=200.0)
        assert found["verdict"] == "PASS"
        assert any("its counters do not tell" in note for note in found["notes"])

    @pytest.mark.parametrize(("ever", "verdict"), [(0, "PASS"), (123456, "INVALID"), (None, "INVALID")])
    def test_links_that_never_counted_are_no_reason(
        self, tmp_path: Path, ever: int | None, verdict: str
    ) -> None:
        found = judged(tmp_path, {"node1": carried(0.0) | {"nvlink_ever_bytes": ever}}, wire_nvl_bw=20.0)
        assert found["verdict"] == verdict
        assert any("never counted anything" in note for note in found["notes"]) is (verdict == "PASS")

    @pytest.mark.parametrize(
        "counted",
        [
            carried(None),
            {},
            {"nvlink": {"sent_bytes": -5, "received_bytes": 0}},
            {"nvlink": "many"},
            carried(0.0) | {"nvlink": {"sent_bytes": 1}},
        ],
        ids=["not told", "nothing", "reset", "no object", "half"],
    )
    def test_counters_that_say_nothing_are_no_reason(self, tmp_path: Path, counted: dict[str, Any]) -> None:
        found = judged(tmp_path, {"node1": counted}, wire_nvl_bw=20.0)
        assert (found["verdict"], found["notes"]) == ("PASS", [])

    def test_a_link_that_nothing_had_to_cross_may_be_idle(self, tmp_path: Path) -> None:
        """Low latency without NVLink on one host: tokens go by RDMA, and ports do not count a loop."""
        found = judged(tmp_path, {"node1": carried(0.0, 0.0)}, wire_nvl_bw=None, wire_rdma_bw=20.0)
        assert found["verdict"] == "PASS"

    def test_a_small_run_says_nothing(self, tmp_path: Path) -> None:
        run = make_run(hosts=("node1",), ranks_per_host=4, backend="nccl")
        run_dir = write_run(tmp_path, run)
        results = run_dir / result_dir(run)
        change_json(
            results / "results.json", lambda records: [r.update(wire_nvl_bw=5.0) for r in records] and None
        )
        ranks = [
            {"rank": n, "host": "node1"} | ({"carried": carried(0.0)} if not n else {}) for n in range(4)
        ]
        write(results / "evidence.json", {"ranks": ranks})
        assert judge_run(run, run_dir, make_session())["verdict"] == "PASS"

    @pytest.mark.parametrize(
        ("folder", "sent"), [("2026-11-27-x4/v1-bf16", 496.1e9), ("2026-11-27-x4/nccl-bf16", 92.7e9)]
    )
    def test_what_real_links_counted_is_more_than_the_least(self, folder: str, sent: float) -> None:
        """Of docs/h100/README.md; with the matrix of a uniform routing: a fourth stays on its rank."""
        records = json.loads((H100 / folder / "results.json").read_text(encoding="utf-8"))
        least = least_bytes("nvlink", records, [[1.0] * 4] * 4, ["h100"] * 4)["h100"]
        assert 0.1 * 2 * sent < least < 2 * sent


class TestRdma:
    HOSTS = ("node1", "node2")

    def two(self, top: Path, rdma: float, **figures: Any) -> dict[str, Any]:
        counted = {host: carried(200.0, rdma) for host in self.HOSTS}
        return judged(top, counted, wire_nvl_bw=20.0, wire_rdma_bw=20.0, **figures)

    def test_it_carried_the_tokens(self, tmp_path: Path) -> None:
        # Half of 20 GB leaves its host in each of 7 calls: 70 GB, if a token may serve 4 ranks 17.5 GB.
        assert self.two(tmp_path, 17.5)["verdict"] == "PASS"

    def test_it_did_not(self, tmp_path: Path) -> None:
        found = self.two(tmp_path, 0.5)
        assert (found["verdict"], causes(found)) == (
            "INVALID", [("link-unused", "node1"), ("link-unused", "node2")]
        )  # fmt: skip
        assert "RDMA carried 1 GB" in found["reasons"][0]["text"]

    @pytest.mark.parametrize(("ever", "verdict"), [(0, "PASS"), (123456, "INVALID")])
    def test_ports_that_never_counted_are_no_reason(self, tmp_path: Path, ever: int, verdict: str) -> None:
        for host in self.HOSTS:
            after = {"mlx5_0/1/port_xmit_data": ever, "mlx5_0/1/port_rcv_data": 0}
            write(tmp_path / f"Tests.1/0/logs/{host}.counters.json", {"before": after, "after": after})
        found = self.two(tmp_path, 0.0)
        assert found["verdict"] == verdict
        assert any("never counted anything" in note for note in found["notes"]) is (verdict == "PASS")

    def test_hosts_of_one_nvlink_domain_need_none(self, tmp_path: Path) -> None:
        assert self.two(tmp_path / "gb200", 0.0, gpu="NVIDIA GB200")["verdict"] == "PASS"
        run = make_run(hosts=self.HOSTS, ranks_per_host=4, backend="deepep_v1")
        run["config"]["allow_mnnvl"] = True
        counted = {host: carried(200.0, 0.0) for host in self.HOSTS}
        found = judged(tmp_path / "mnnvl", counted, run, wire_nvl_bw=20.0, wire_rdma_bw=20.0)
        assert found["verdict"] == "PASS"
