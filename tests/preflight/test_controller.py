"""What the controller makes of the hosts' answers: needs, comparison, refusal, clocks, the table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from compiler.resources import host_code
from tests.preflight import machines

host_code()

from deepep_host.preflight import clock, compare, entry, examine, needs_of, refusal, table  # noqa: E402
from deepep_host.preflight.refusal import different_images  # noqa: E402
from deepep_host.preflight.wanted import of_inventory, of_plan  # noqa: E402

FULL = ["host", "peers", "gpu", "nvlink", "rdma", "ibgda"]


def run(backend: str = "deepep", hosts: tuple[str, ...] = ("a", "b"), **changes: Any) -> dict[str, Any]:
    """Returns the part of a planned run that matters here."""
    return {
        "id": "t/0",
        "backend": backend,
        "mode": "standard",
        "config": {},
        "program": "bundled",
        "container_runtime": "docker",
        "hosts": [{"name": name, "node_rank": rank} for rank, name in enumerate(hosts)],
        "ranks_per_host": 8,
        "env": {},
        "master_interface": None,
        **changes,
    }


LOW, NVLINK = {"mode": "low_latency"}, {"allow_nvlink_for_low_latency": True}


@pytest.mark.parametrize(
    ("planned", "needs"),
    [
        (run("gloo", container_runtime="none"), {"host", "peers", "torch"}),
        (run("gloo", container_runtime="none", program="image"), {"host", "peers"}),
        (run("gloo", hosts=("a",)), {"host", "container"}),
        (run("nccl"), {"host", "peers", "container", "gpu", "network"}),
        (run("nccl", hosts=("a",)), {"host", "container", "gpu"}),
        (run(), {"host", "peers", "container", "gpu", "nvlink", "rdma", "ibgda"}),
        (run("deepep_v2"), {"host", "peers", "container", "gpu", "nvlink", "rdma"}),
        (run(config={"allow_mnnvl": True}), {"host", "peers", "container", "gpu", "nvlink", "mnnvl"}),
        (
            run("deepep_v1", config={"allow_mnnvl": True}, ranks_per_host=4),
            {"host", "peers", "container", "gpu", "nvlink", "mnnvl"},
        ),
        (
            run("deepep_v1", config={"allow_mnnvl": True}),
            {"host", "peers", "container", "gpu", "nvlink", "mnnvl", "rdma", "ibgda"},
        ),
        (run(hosts=("a",)), {"host", "container", "gpu", "nvlink"}),
        (run(hosts=("a",), ranks_per_host=1), {"host", "container", "gpu"}),
        (run(hosts=("a",), **LOW), {"host", "container", "gpu", "nvlink", "rdma", "ibgda"}),
        (run(hosts=("a",), **LOW, config=NVLINK), {"host", "container", "gpu", "nvlink"}),
        (run(**LOW, config=NVLINK), {"host", "peers", "container", "gpu", "nvlink", "rdma", "ibgda"}),
    ],
)
def test_what_a_run_needs(planned: dict[str, Any], needs: set[str]) -> None:
    assert needs_of(planned) == needs


def test_the_plan_decides_what_a_host_is_asked() -> None:
    plan = {
        "runs": [
            run("gloo", id="x/0", hosts=("b",), container_runtime="none", env={"EP_JIT_CACHE_DIR": "/j"}),
            run(id="y/0", env={"NCCL_IB_HCA": "mlx5", "SECRET": "no"}, master_interface="eth0"),
            run(id="z/0", hosts=("a",), env={"NCCL_SOCKET_IFNAME": "^docker"}),
        ]
    }
    assert of_plan(plan, "b", "/py") == {
        "needs": sorted({*FULL, "container", "torch"}),
        "gpus": 8,
        "python": "/py",
        "runtimes": ["docker"],
        "interfaces": ["=eth0"],
        "jit_caches": ["/j", ""],
        "environment": {"NCCL_IB_HCA": "mlx5"},
    }
    assert of_plan(plan, "a", "/py")["interfaces"] == ["=eth0", "^docker"]
    assert of_plan({"runs": []}, "c", "/py")["needs"] == ["host"]


def test_without_a_plan_the_inventory_decides() -> None:
    found = of_inventory({"backend": "gloo", "runtime": "none", "python": "/py", "hosts": 2})
    assert (found["needs"], found["python"]) == (["host", "peers", "torch"], "/py")
    assert "rdma" in of_inventory({"hosts": "4", "gpus_per_node": "8"})["needs"]
    assert "rdma" not in of_inventory({"hosts": 1})["needs"]


@pytest.fixture(scope="module")
def looked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Machines of each kind, examined for runs over RDMA."""
    found = {}
    for kind in ("h100-infiniband", "h200-roce", "gb200"):
        tree = machines.MACHINES[kind](tmp_path_factory.mktemp("kinds") / kind)
        needs = [*FULL, "mnnvl"] if kind == "gb200" else FULL
        gpus = 4 if kind == "gb200" else 8
        found[kind] = {**examine({"needs": needs, "gpus": gpus}, tree.probe()), "clock": [-0.1, 0.2]}
    return found


def compared(hosts: dict[str, Any], **changes: Any) -> dict[str, dict[str, Any]]:
    """Returns what comparing the hosts of one run says, by name."""
    (group,) = compare({"runs": [run(hosts=tuple(hosts), **changes)]}, hosts)
    return {line["name"]: line for line in group["checks"]}


def test_equal_hosts_fit_together(looked: Any) -> None:
    found = compared({"a": looked["h100-infiniband"], "b": looked["h100-infiniband"]})
    assert {line["result"] for line in found.values()} == {"pass"}
    assert found["same_gpus"]["text"] == "8 NVIDIA H100 80GB HBM3"
    assert found["same_rate"]["text"] == "400.0"


def test_different_hosts_do_not(looked: Any) -> None:
    found = compared(
        {"a": looked["h100-infiniband"], "b": looked["h200-roce"], "c": looked["h100-infiniband"]}
    )
    assert {name for name, line in found.items() if line["result"] == "fail"} == {"same_gpus", "same_layer"}
    assert found["same_gpus"]["text"] == "8 NVIDIA H200 on b; 8 NVIDIA H100 80GB HBM3 on a, c"
    assert found["same_gpus"]["remedy"]


def test_hosts_of_two_nvlink_domains_do_not_fit(looked: Any) -> None:
    other = {**looked["gb200"], "facts": {**looked["gb200"]["facts"], "nvlink_domains": ["another.1"]}}
    found = compared({"a": looked["gb200"], "b": other}, config={"allow_mnnvl": True})
    assert found["same_nvlink_domain"]["result"] == "fail"
    assert "same_layer" not in found


def test_what_hosts_do_not_tell_is_never_taken_for_equal(looked: Any) -> None:
    silent = {**looked["h100-infiniband"], "facts": {"hostname": "x"}}
    found = compared({"a": looked["h100-infiniband"], "b": silent})
    assert (found["same_driver"]["result"], found["same_driver"]["text"]) == (
        "warn",
        "580.159.04; b does not tell",
    )
    found = compared({"a": silent, "b": silent})
    assert (found["same_driver"]["result"], found["same_gpus"]["result"]) == ("unknown", "unknown")


def test_clocks_differ_where_their_bounds_do_not_overlap(looked: Any) -> None:
    late = {**looked["h100-infiniband"], "clock": [4.0, 5.5]}
    found = compared({"a": looked["h100-infiniband"], "b": late})["same_time"]
    assert (found["result"], found["text"]) == ("warn", "b is at least 3.8 s ahead of a")
    unsure = {**looked["h100-infiniband"], "clock": [-9.0, 30.0]}
    assert compared({"a": looked["h100-infiniband"], "b": unsure})["same_time"]["result"] == "pass"


def test_a_host_that_did_not_answer_is_not_compared(looked: Any) -> None:
    gone = {"result": "fail", "checks": [entry("reachable", "fail", "gone")]}
    found = compared({"a": looked["h100-infiniband"], "b": gone})
    assert found["same_driver"]["result"] == "pass"


def test_the_clock_is_judged_by_what_is_sure() -> None:
    # The module ran from 10 to 12 s by the host's clock; the controller waited from 3 to 9 s.
    assert clock.bounds(3.0, 9.0, [10.0, 12.0]) == (3.0, 7.0)
    assert clock.check((3.0, 7.0), 1, "ntp")["text"] == "at least 3.0 s ahead of the controller"
    assert clock.check((-7.0, -3.0), 1, "ntp")["result"] == "warn"
    assert clock.check((-0.5, 4.0), 1, "ntp")["result"] == "pass"


def test_a_failure_refuses_only_the_runs_that_need_it() -> None:
    failed = [entry("rdma", "fail", "no adapter", "buy one", needs=["rdma"]), entry("python", "pass", "3.8")]
    hosts = {"a": {"checks": failed}, "b": {"checks": []}}
    assert refusal(run("gloo"), hosts) is None
    assert refusal(run(hosts=("b",)), hosts) is None
    assert refusal(run(), hosts) == "host a did not pass its preflight: no adapter"
    assert refusal(run(hosts=("a",), **LOW), hosts) == "host a did not pass its preflight: no adapter"
    assert refusal(run(hosts=("a",), **LOW, config=NVLINK), hosts) is None
    warned = [entry("rdma", "warn", "no adapter", needs=["rdma"])]
    assert refusal(run(), {"a": {"checks": warned}, "b": None}) is None


def test_a_failure_between_two_hosts_refuses_the_runs_of_these_two() -> None:
    line = entry("bootstrap", "fail", "does not reach a", needs=["peers"], runs=["t/0"])
    assert (
        refusal(run("gloo"), {"b": {"checks": [line]}})
        == "host b did not pass its preflight: does not reach a"
    )
    assert refusal(run("gloo", id="u/0"), {"b": {"checks": [line]}}) is None
    group = {
        "hosts": ["a", "b"],
        "runs": ["t/0"],
        "checks": [entry("same_gpus", "fail", "2 kinds", needs=["gpu"])],
    }
    assert refusal(run(), {}, [group]) == "its hosts do not fit together: 2 kinds"
    assert refusal(run("gloo"), {}, [group]) is None


def test_different_images_refuse_a_run() -> None:
    assert different_images({"a": None, "b": {"digest": "sha256:1"}, "c": {"digest": "sha256:1"}}) is None
    text = different_images(
        {"a": {"digest": "sha256:1"}, "b": {"digest": "sha256:2"}, "c": {"digest": "sha256:1"}}
    )
    assert text == "its hosts hold different images: sha256:1 on a, c; sha256:2 on b"


def test_the_table_says_once_what_many_hosts_say(tmp_path: Path) -> None:
    lines = [entry("python", "pass", "3.11"), entry("gpu_power", "warn", "500 W of 700 W", "reset it")]
    silent = [entry(name, "unknown", "not checked: no GPU") for name in ("gpu_ecc", "gpu_xid")]
    hosts: dict[str, Any] = {
        f"n{number:03}": {"result": "pass", "checks": lines[:1], "not_needed": ["torch", "rdma"]}
        for number in range(256)
    }
    hosts["n007"] = {"result": "warn", "checks": [*lines, *silent], "not_needed": ["torch"]}
    hosts["n009"] = {"result": "warn", "checks": lines, "not_needed": ["torch", "rdma"]}
    text = table(
        hosts, [{"hosts": ["n000", "n001"], "runs": [], "checks": [entry("same_gpus", "pass", "H100")]}]
    )
    assert text[0] == "preflight of 256 hosts: 254 pass, 2 warn; 2 checks could not be made"
    assert [line.split()[:3] for line in text[2:]] == [
        ["warn", "gpu_power", "n007,"],
        ["->", "reset", "it"],
        ["unknown", "2", "checks"],
        ["pass", "python", "all"],
        ["pass", "same_gpus", "n000,"],
        ["not", "needed", "by"],
    ]
    assert text[4].endswith("not checked: no GPU (gpu_ecc, gpu_xid)")
    assert text[-1].endswith(": torch")
    assert table({}) == ["preflight: no host"]
