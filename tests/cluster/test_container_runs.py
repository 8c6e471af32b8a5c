"""Whole runs in containers on two real hosts, as a user has them: the bundled program, and an image's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import images
from tests.cluster.conftest import need_lab
from tests.cluster.images import ARCHIVE, TORCH, put
from tests.cluster.lab import Lab
from tests.e2e.conftest import COMPILER

pytestmark = pytest.mark.cluster

WORK_DIR = "/var/tmp/deepep-containers"  # noqa: S108 - of the lab's hosts
COMMON: dict[str, Any] = {
    "deepep_container_runtime": "podman",
    "deepep_container_mounts": [*images.TORCH_MOUNTS],
    "deepep_work_dir": WORK_DIR,
}

OF_SEED_PAGE = '''
"""A stand-in for the image's own benchmark at the seed page's path: no torch.distributed, figures made up."""
import json, os, sys, time
from pathlib import Path

config = dict(line.split(": ", 1) for line in Path(sys.argv[1]).read_text().splitlines())
rank = int(os.environ["RANK"])
print("rank", rank, "of", os.environ["WORLD_SIZE"], "hosts, tokens", config["tokens"], "in", os.getcwd())
if rank == 1 and "FAILS" in os.environ:
    sys.exit("the second host gives up")
if "FAILS" in os.environ:
    time.sleep(3600)
if rank == 0:
    folder = Path("/workspace/dp-benchmark/results/benchmark_16_ranks_x_standard")
    folder.mkdir()
    figures = {"global_bw": 100.0, "deepep_time": 0.001, "simple_rdma_bw": 40.0, "simple_nvl_bw": 0.0,
               "num_tokens": int(config["tokens"]), "hidden": int(config["hidden_size"])}
    (folder / "results.json").write_text(json.dumps([figures]))
    for name in ("token_matrix.txt", "token_matrix_kb.txt"):
        (folder / name).write_text("1 2")
'''


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    need_lab()
    if not TORCH.exists():
        pytest.skip("no .venv-torch: make .venv-torch")
    with Lab(2, registry=True) as lab:
        yield lab


def write(folder: Path, name: str, *, extra: str = "", **arguments: object) -> Path:
    """Writes a scenario of one small test and returns its path."""
    (folder / "tests").mkdir(exist_ok=True)
    values = {"docker_image_url": ARCHIVE, "tokens": 32, "num_experts": 16, "num_topk": 4, "hidden_size": 256,
              "num_warmups": 1, "num_iterations": 3, **arguments}  # fmt: skip
    lines = "\n".join(f"{key} = {json.dumps(value)}" for key, value in values.items())
    (folder / "tests" / f"{name}.toml").write_text(
        f'name = "{name}"\ndescription = "d"\ntest_template_name = "DeepEPBenchmark"\n{extra}\n'
        f"[cmd_args]\n{lines}\n"
    )
    path = folder / f"{name}-scenario.toml"
    path.write_text(
        f'name = "{name}"\n[[Tests]]\nid = "T"\ntest_name = "{name}"\nnum_nodes = 2\n'
        'time_limit = "00:20:00"\n'
    )
    return path


def run(lab: Lab, folder: Path, scenario: Path, variables: dict[str, Any], code: int) -> Path:
    """Runs a scenario and returns the run's directory in the results."""
    inventory = lab.inventory(folder / f"{scenario.stem}.yml", variables=variables)
    results = folder / f"results-{scenario.stem}"
    done = lab.controller.run(
        COMPILER, "run", scenario, "-i", inventory, "--results-dir", results, timeout=1800
    )
    assert done.returncode == code, done.stdout + done.stderr
    (session,) = results.iterdir()
    return session / "T" / "0"


@pytest.mark.long
def test_the_bundled_program_passes_in_podman_on_two_hosts_once_the_registry_is_back(
    lab: Lab, tmp_path: Path
) -> None:
    registry = lab.registry
    assert registry is not None
    image = images.frame(tmp_path / "image.tar", "team/deepep:1")
    registry.push(tmp_path / "image.tar", "team/deepep:1")
    registry.stop()
    reference = f"{registry.NAME}/team/deepep:1"
    variables = {
        **COMMON,
        "deepep_python": str(TORCH / "bin" / "python"),
        "deepep_backend": "gloo",
        "deepep_gpus_per_node": 1,
        "deepep_master_interface": "eth0",
        "deepep_registries": [
            {"registry": registry.NAME, "username": registry.USER, "password": registry.PASSWORD}
        ],
    }
    scenario = write(tmp_path, "bundled", docker_image_url=reference)
    folder = run(lab, tmp_path, scenario, variables, 3)
    verdict = json.loads((folder / "verdict.json").read_text())
    assert verdict["verdict"] == "NOT_RUN", verdict
    assert registry.NAME in verdict["reasons"][0]["text"], verdict
    # What became of the image then is not what becomes of it now.
    registry.start()
    before = registry.position()
    done = lab.controller.run(COMPILER, "run", "--resume", folder.parents[1], timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr
    verdict = json.loads((folder / "verdict.json").read_text())
    assert verdict["verdict"] == "PASS", verdict
    assert any(request.is_blob for request in registry.requests(before))
    for host in lab.hosts:
        looked = json.loads((folder.parents[1] / "preflight" / f"{host.name}.json").read_text())["checks"]
        (line,) = [line for line in looked if line["name"] == "image"]
        assert (line["result"], line["runs"]) == ("pass", ["T/0"]), line
        assert f"{reference}: Python 3" in line["text"] and ", torch 2." in line["text"]
        record = json.loads((folder / "logs" / f"{host.name}.container.json").read_text())
        assert record["image_id"] == image
        assert record["inside"]["executable"] == str(TORCH / "bin" / "python")
        found = json.loads((folder / "logs" / f"{host.name}.environment.json").read_text())["variables"]
        assert found["GLOO_SOCKET_IFNAME"] == "eth0"
        assert image in (folder / "metadata" / f"node-{host.name}.toml").read_text()
        assert not host.of_benchmark()
        assert not host.run("podman", "ps", "--all", "--quiet").stdout
        assert not list(host.root(WORK_DIR).glob(f"*/{host.name}"))


@pytest.mark.long
def test_an_images_own_benchmark_is_unverified_and_in_docker_its_failure_ends_the_other_host(
    lab: Lab, tmp_path: Path
) -> None:
    for host in lab.hosts:
        host.start_docker()
    place = "/workspace/dp-benchmark/benchmark"
    put(
        lab.hosts,
        tmp_path,
        files={f"{place}/benchmark.py": OF_SEED_PAGE, f"{place}/benchmark_ll.py": OF_SEED_PAGE},
        env={"PATH": f"{TORCH}/bin:/usr/bin:/bin"},
        workdir="/workspace",
    )
    variables = {
        **COMMON,
        "deepep_container_runtime": "docker",
        "deepep_program": "image",
        "deepep_backend": "deepep_v1",
        "deepep_gpus_per_node": 8,
        # The program is a stand-in that needs none of what the backend would need here.
        "deepep_preflight_tolerate": ["gpu_driver", "rdma", "peer_memory", "container"],
    }
    good = run(lab, tmp_path, write(tmp_path, "good", hidden_size=2048), variables, 3)
    # What the image lacks is seen before anything is started.
    lacking = {**variables, "deepep_env": {"PATH": "/usr/bin:/bin"}}
    without = run(lab, tmp_path, write(tmp_path, "without", hidden_size=2048), lacking, 3)
    verdict = json.loads((without / "verdict.json").read_text())
    assert verdict["verdict"] == "NOT_RUN", verdict
    assert "no torchrun in its search path" in verdict["reasons"][0]["text"]
    bad = write(tmp_path, "bad", hidden_size=2048, extra='extra_env_vars = {FAILS = "1"}')
    bad_folder = run(lab, tmp_path, bad, variables, 3)
    verdict = json.loads((good / "verdict.json").read_text())
    assert verdict["verdict"] == "UNVERIFIED", verdict
    assert "tokens 32 in /workspace" in (good / "stdout.txt").read_text()
    assert list(good.glob("results/benchmark_*/results.json"))
    verdict = json.loads((bad_folder / "verdict.json").read_text())
    assert verdict["verdict"] == "FAIL", verdict
    states = {
        host.name: json.loads((bad_folder / "logs" / f"{host.name}.state.json").read_text())
        for host in lab.hosts
    }
    assert (states["node2"]["outcome"], states["node2"]["exit_code"]) == ("exited", 1)
    assert (states["node1"]["outcome"], states["node1"]["first_failure_at"]) == ("stopped", None)
    assert "node2 failed first" in states["node1"]["cause"]
    for host in lab.hosts:
        assert not host.of_benchmark()
        assert not host.run("docker", "ps", "--all", "--quiet").stdout
