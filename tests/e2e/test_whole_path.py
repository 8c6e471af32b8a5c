"""From TOML to report with the real ``ansible-playbook`` and ``torchrun``, as a user would go."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

from tests.e2e.conftest import COMPILER, call

HOSTILE = {
    "QUOTES": "a 'single' and a \"double\" one",
    "COMMAND": "$(touch {canary}) `touch {canary}`; touch {canary}",
    "TEMPLATE": "{{{{ lookup('pipe', 'touch {canary}') }}}} {{% raw %}}",
    "LINES": "first\nsecond\ttab\\",
    "UNICODE": "héllo 世界 🚀",
    "LONG": "x" * 10_000,
    "DOLLAR": "costs $5 and 100%",
}
"""What must reach the process as it is; ``{canary}`` is a file that nothing may create."""

SEED_PAGE = (
    "config.yaml", "env_vars.sh", "hostfile.txt", "stdout.txt", "stderr.txt", "job.toml", "test-run.toml",
    "metadata/node-local-1.toml", "metadata/node-local-2.toml",
)  # fmt: skip
"""The files of a run that the seed page lists (job.toml in place of slurm-job.toml)."""


def scenario(path: Path, *entries: str) -> Path:
    """Writes a scenario of such tests, one after another."""
    body = "".join(
        f'\n[[Tests]]\nid = "Tests.{number}"\ntest_name = "{name}"\nnodes = "GAIA:standard_nodes:2"\n'
        f'time_limit = "00:10:00"\n'
        for number, name in enumerate(entries, 1)
    )
    path.write_text(f'name = "e2e"\n{body}', encoding="utf-8")
    return path


def session_in(results: Path) -> Path:
    """Returns the only session below a folder."""
    (found,) = results.iterdir()
    return found


def wait_until(condition: Callable[[], bool], what: str, limit_s: float = 300) -> None:
    """Waits for a condition; the limit only keeps a broken run from hanging the tests."""
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, f"never came: {what}"
        time.sleep(0.2)


def ranks(run_id: str) -> list[Path]:
    """Returns the processes of a session's ranks."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes()
        except OSError:
            continue
        if f"DEEPEP_RUN_ID={run_id}".encode() in environment.split(b"\0"):
            found.append(process)
    return found


def cloudai_rows(run: Path) -> int:
    """Returns how many rows CloudAI's report generators find, by what they rely on: folder, mode, columns."""
    columns = ("num_tokens", "hidden", "deepep_time", "global_bw", "simple_rdma_bw", "simple_nvl_bw")
    rows = 0
    for folder in run.glob("results/benchmark_*_ranks_*"):
        assert re.match(r"benchmark_(\d+)_ranks_(.+?)_(low_latency|standard)", folder.name)
        for record in json.loads((folder / "results.json").read_text()):
            assert all(isinstance(record[column], int | float | None) for column in columns)
            rows += 1
    return rows


def test_run_reports_a_pass_with_every_file_of_the_page(
    tests_dir: Path, common: list[str], tmp_path: Path
) -> None:
    toml = scenario(tmp_path / "scenario.toml", "standard", "low-latency")
    results = tmp_path / "results"
    done = call("run", str(toml), *common, "--results-dir", str(results), cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    session = session_in(results)
    assert str(session / "e2e.html") in done.stdout
    assert "2 PASS" in done.stdout
    assert "not DeepEP" in done.stdout
    for run, mode in (("Tests.1/0", "standard"), ("Tests.2/0", "low_latency")):
        for name in SEED_PAGE:
            assert (session / run / name).is_file(), f"{run}/{name}"
        (folder,) = (session / run / "results").iterdir()
        assert folder.name.startswith("benchmark_4_ranks_")
        assert folder.name.endswith(f"_{mode}")
        for name in ("results.json", "token_matrix.txt", "token_matrix_kb.txt"):
            assert (folder / name).is_file()
        records = json.loads((folder / "results.json").read_text())
        assert {record["operation"] for record in records} >= {"dispatch", "combine"}
        assert all(record["simple_nvl_bw"] is None for record in records)
        assert cloudai_rows(session / run) == len(records)
        tomllib.loads((session / run / "job.toml").read_text())
    junit = ET.parse(session / "junit.xml").getroot()  # noqa: S314 - our own file
    assert junit.get("failures") == "0"
    summary = json.loads((session / "summary.json").read_text())
    assert summary["passed"] is True

    again = call("report", str(session), cwd=tmp_path)
    assert again.returncode == 0
    status = call("status", str(results), cwd=tmp_path)
    assert status.returncode == 0
    assert status.stdout.count("PASS") == 2
    logs = call("logs", str(results), "--run", "Tests.1/0", "--stream", "stdout", cwd=tmp_path)
    assert "[Tests.1/0 local-1 stdout]" in logs.stdout
    assert not (tmp_path / "work").exists() or not list((tmp_path / "work").glob("2*"))


def test_ctrl_c_stops_fetches_and_says_what_is_missing(
    tests_dir: Path, common: list[str], tmp_path: Path
) -> None:
    canary = tmp_path / "canary"
    values = {name: text.format(canary=canary) for name, text in HOSTILE.items()}
    test = tests_dir / "endless.toml"
    lines = [f"{name} = {json.dumps(text, ensure_ascii=False)}" for name, text in values.items()]
    test.write_text(test.read_text() + "\n[extra_env_vars]\n" + "\n".join(lines) + "\n", encoding="utf-8")
    toml = scenario(tmp_path / "scenario.toml", "endless", "standard")
    results = tmp_path / "results"
    process = subprocess.Popen(
        [COMPILER, "run", str(toml), *common, "--results-dir", str(results)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    try:
        session = _until_timing(results)
        run_id = json.loads((session / "run.json").read_text())["run_id"]
        found = ranks(run_id)
        benches = 0
        for one in found:
            try:
                command, text = (one / "cmdline").read_bytes(), (one / "environ").read_bytes().decode()
            except OSError:
                continue  # one of the program's own commands, which has ended
            if b"deepep_bench" in command and text:
                environment = dict(entry.split("=", 1) for entry in text.split("\0") if "=" in entry)
                assert {name: environment.get(name) for name in values} == values
                benches += 1
        assert benches >= 4
        live = call("logs", str(results), cwd=tmp_path)
        assert live.returncode == 0, live.stderr
        status = call("status", str(results), cwd=tmp_path)
        assert "timing" in status.stdout, status.stdout + status.stderr
        # Compiled anew for one host, in the place of the bundle that the run wrote.
        toml.write_text(toml.read_text().replace("standard_nodes:2", "standard_nodes:1"), encoding="utf-8")
        compiled = call("compile", str(toml), *common, cwd=tmp_path)
        assert compiled.stdout == "build/e2e\n", compiled.stderr
        os.killpg(process.pid, signal.SIGINT)
        output, errors = process.communicate(timeout=300)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    assert process.returncode == 130, output + errors
    assert "interrupted" in errors
    assert not ranks(run_id), "a process is left running"
    verdicts = {
        run["run"]: run["verdict"] for run in json.loads((session / "summary.json").read_text())["runs"]
    }
    assert verdicts == {"Tests.1/0": "FAIL", "Tests.2/0": "NOT_RUN"}
    assert "Tests.2/0" in output
    assert (session / "Tests.1" / "0" / "logs" / "local-1.stderr.txt").is_file()
    assert not canary.exists()
    assert not list((tmp_path / "work").glob("2*")), "work directories are left on the hosts"


def _until_timing(results: Path) -> Path:
    def running() -> bool:
        return any('"timing"' in file.read_text() for file in results.glob("*/events.jsonl"))

    wait_until(running, "the timing phase")
    return session_in(results)


def test_a_moved_bundle_needs_ansible_alone(tests_dir: Path, common: list[str], tmp_path: Path) -> None:
    toml = scenario(tmp_path / "scenario.toml", "standard")
    compiled = call("compile", str(toml), *common, "-o", str(tmp_path / "bundle"), cwd=tmp_path)
    assert compiled.returncode == 0, compiled.stderr
    elsewhere = tmp_path / "else where"
    shutil.move(tmp_path / "bundle", elsewhere)
    for name in ("scenario.toml", "tests"):
        path = tmp_path / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    # What ansible-core does not bring along cannot be imported.
    blocker = tmp_path / "blocker"
    blocker.mkdir()
    (blocker / "sitecustomize.py").write_text(
        "import sys\n"
        "for name in ('compiler', 'jsonschema', 'tomli', 'plotly', 'tree_sitter'):\n"
        "    sys.modules[name] = None\n",
        encoding="utf-8",
    )
    done = subprocess.run(
        [str(Path(sys.executable).with_name("ansible-playbook")), "site.yml"],
        cwd=elsewhere,
        env={**os.environ, "PYTHONPATH": str(blocker)},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    session = session_in(elsewhere / "results")
    assert json.loads((session / "summary.json").read_text())["passed"] is True
    assert (session / "junit.xml").is_file()
    assert "PASS" in done.stdout


def test_bad_input_writes_nothing(tests_dir: Path, common: list[str], tmp_path: Path) -> None:
    toml = scenario(tmp_path / "scenario.toml", "standrad", "low-latency")
    (tests_dir / "low-latency.toml").write_text('name = "low-latency"\nname = 1\n', encoding="utf-8")
    before = sorted(tmp_path.rglob("*"))
    done = call("run", str(toml), *common, cwd=tmp_path)
    assert done.returncode == 1
    assert "scenario.toml:5:13" in done.stderr
    assert "low-latency.toml:2" in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_an_interrupt_before_the_session_is_open_leaves_nothing(
    common: list[str], tests_dir: Path, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    process = subprocess.Popen(
        [COMPILER, "run", str(scenario(tmp_path / "scenario.toml", "standard")), *common,
         "--results-dir", str(results)],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0,
    )  # fmt: skip
    assert process.stderr is not None
    line = ""
    while not line.startswith("results: "):
        line = process.stderr.readline()
        assert line, "it never began"
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 130, output + errors
    assert "is no result directory" not in output + errors
    assert "ansible-playbook ended with" not in output + errors
    assert list(results.iterdir()) == []
