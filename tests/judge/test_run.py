"""One run: a good tree passes, and each thing broken in it gives exactly its reason."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from deepep_host.judge import judge_run
from deepep_host.judge.codes import CODES, reason

from tests.judge.tree import (
    STAMP,
    change_json,
    make_run,
    make_session,
    make_state,
    result_dir,
    write,
    write_run,
)

Run = dict[str, Any]
STOPPED = "Received 15 death signal\nTraceback (most recent call last):\nE: x\n"

Break = Callable[[Run, Path], object]


def _good(top: Path, **changes: Any) -> tuple[Run, Path]:
    run = make_run(**changes)
    return run, write_run(top, run)


def _causes(verdict: dict[str, Any]) -> set[str]:
    return {r["code"] for r in verdict["reasons"] if not r["consequence"]}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"mode": "low_latency"},
        {"hosts": ("only",), "ranks_per_host": 1},
        {"hosts": tuple(f"n{i}" for i in range(5)), "ranks_per_host": 8},
        {"traces": 4},
        {"run_id": "Tests.1/3/12", "sweep": {"cmd_args.tokens": 128}},
        {"backend": "nccl"},
    ],
)
def test_a_good_run_passes(tmp_path: Path, changes: dict[str, Any]) -> None:
    run, run_dir = _good(tmp_path, **changes)

    verdict = judge_run(run, run_dir, make_session())

    assert (verdict["verdict"], verdict["reasons"]) == ("PASS", [])
    assert json.loads((run_dir / "verdict.json").read_text()) == verdict
    assert [record["operation"] for record in verdict["operations"]] == ["dispatch", "combine"]
    assert verdict["duration_s"] == 10.5


def _state(host: str, **changes: Any) -> Break:
    return lambda run, d: write(d / f"logs/{host}.state.json", make_state(run, host, **changes))


def _not_collected(run: Run, run_dir: Path) -> None:
    """The controller could not fetch what node2 holds."""
    event = {"t": "2026-01-02T03:05:00Z", "event": "collect", "run": run["id"], "host": "node2"}
    told = {**event, "complete": False, "problem": "host node2 is unreachable"}
    write(run_dir.parent.parent / "events.jsonl", json.dumps(told) + "\n")
    (run_dir / "markers" / "node2.json").unlink()


def _log(name: str, text: str) -> Break:
    return lambda run, d: write(d / "logs" / name, text)


def _records(change: Callable[[list[Any]], object]) -> Break:
    return lambda run, d: change_json(d / result_dir(run) / "results.json", change)


def _set(*path: str | int, value: object) -> Break:
    """Sets one value in the first record."""

    def change(records: list[Any]) -> None:
        target = records[0]
        for key in path[:-1]:
            target = target[key]
        target[path[-1]] = value

    return _records(change)


def _unset(key: str) -> Break:
    return _records(lambda records: records[0].pop(key) and None)


def _remove(name: str) -> Break:
    return lambda run, d: (d / name.replace("RESULTS", result_dir(run))).unlink()


def _put(name: str, content: object) -> Break:
    return lambda run, d: write(d / name.replace("RESULTS", result_dir(run)), content)


BROKEN: list[tuple[str, str, str, Break]] = [
    # verdict, code, what is broken
    ("TIMEOUT", "time-limit", "timeout", _state("node2", outcome="timeout", exit_code=None)),
    ("FAIL", "host-lost", "lost", _state("node1", outcome="lost", exit_code=None)),
    (
        "FAIL",
        "stood-still",
        "stopped by a signal",
        _state("node1", outcome="stopped", exit_code=None, first_failure_at="2026-01-02T03:04:10Z"),
    ),
    ("FAIL", "not-collected", "unreachable when it was collected", _not_collected),
    ("FAIL", "host-lost", "unknown outcome", _state("node1", outcome="vanished")),
    ("FAIL", "start-failed", "start failed", _state("node1", outcome="start_failed", exit_code=None)),
    ("FAIL", "stopped", "stopped by hand", _state("node1", outcome="stopped", exit_code=None)),
    ("FAIL", "exit-code", "exit code 1", _state("node2", exit_code=1)),
    ("FAIL", "exit-code", "killed by a signal", _state("node2", exit_code=-9)),
    ("FAIL", "exit-code", "no exit code", _state("node2", exit_code=None)),
    ("FAIL", "exit-code", "exit code is no number", _state("node2", exit_code=False)),
    (
        "FAIL",
        "still-running",
        "still running",
        _state("node2", status="running", outcome=None, exit_code=None),
    ),
    ("FAIL", "state-missing", "no state", _remove("logs/node2.state.json")),
    ("FAIL", "state-unreadable", "half a state", _put("logs/node2.state.json", '{"status": "en')),
    ("FAIL", "state-unreadable", "state is a list", _put("logs/node2.state.json", [])),
    ("FAIL", "leftovers", "leftovers", _state("node2", leftovers=["python (pid 7)"])),
    (
        "FAIL",
        "error-in-log",
        "traceback",
        _log("node2.stderr.txt", "Traceback (most recent call last):\nE: x\n"),
    ),
    ("FAIL", "error-in-log", "passed, then died", _log("node1.stdout.txt", "[testing] ... passed\nKilled\n")),
    ("FAIL", "error-in-log", "supervisor log", _log("node1.supervisor.txt", "No space left on device\n")),
    (
        "FAIL",
        "error-in-log",
        "a victim's line alone",
        _log("node1.stderr.txt", "Connection closed by peer\n"),
    ),
    ("FAIL", "log-missing", "no stdout", _remove("logs/node1.stdout.txt")),
    ("FAIL", "marker-missing", "no marker", _remove("markers/node1.json")),
    ("FAIL", "marker-wrong", "marker of another host", _put("markers/node1.json", {"host": "node9"})),
    ("FAIL", "marker-wrong", "half a marker", _put("markers/node1.json", "{")),
    (
        "FAIL",
        "marker-wrong",
        "marker without completed",
        lambda run, d: change_json(d / "markers/node1.json", lambda m: m.update(completed=1)),
    ),
    (
        "FAIL",
        "marker-wrong",
        "marker lacks a rank",
        lambda run, d: change_json(d / "markers/node1.json", lambda m: m.update(ranks=[0])),
    ),
    (
        "FAIL",
        "world-size",
        "hosts did not meet",
        lambda run, d: change_json(d / "markers/node1.json", lambda m: m.update(world_size=2)),
    ),
    ("FAIL", "world-size", "record of fewer ranks", _set("num_ranks", value=2)),
    (
        "FAIL",
        "world-size",
        "per_rank lacks a rank",
        _records(lambda records: records[0]["per_rank"].pop() and None),
    ),
    ("FAIL", "rank-missing", "no rank record", _remove("ranks/rank-0003.json")),
    (
        "FAIL",
        "rank-wrong",
        "rank record of another",
        _put("ranks/rank-0003.json", {"rank": 2, "host": "node2"}),
    ),
    (
        "FAIL",
        "rank-wrong",
        "rank on another host",
        _put("ranks/rank-0003.json", {"rank": 3, "host": "node1"}),
    ),
    ("FAIL", "rank-wrong", "half a rank record", _put("ranks/rank-0003.json", "{")),
    ("FAIL", "results-missing", "no results.json", _remove("RESULTS/results.json")),
    (
        "FAIL",
        "results-ambiguous",
        "two results",
        _put("results/benchmark_4_ranks_20260102_030405_other/results.json", []),
    ),
    ("FAIL", "results-unreadable", "half a results.json", _put("RESULTS/results.json", "[{")),
    ("FAIL", "results-unreadable", "results.json is a number", _put("RESULTS/results.json", 7)),
    ("FAIL", "results-unreadable", "no record", _put("RESULTS/results.json", [])),
    ("FAIL", "operation-missing", "no combine", _records(lambda records: records[:1])),
    ("FAIL", "operation-missing", "dispatch twice", _records(lambda records: [*records, records[0]])),
    ("FAIL", "record-incomplete", "no bandwidth", _unset("global_bw")),
    ("FAIL", "record-incomplete", "bandwidth is text", _set("global_bw", value="10")),
    ("FAIL", "record-incomplete", "bandwidth is true", _set("global_bw", value=True)),
    ("FAIL", "record-incomplete", "no simple_nvl_bw", _unset("simple_nvl_bw")),
    ("FAIL", "record-incomplete", "no tokens", _unset("num_tokens")),
    ("FAIL", "record-incomplete", "no backend", _unset("backend")),
    ("FAIL", "record-incomplete", "no num_ranks", _unset("num_ranks")),
    ("FAIL", "record-incomplete", "no per_rank", _unset("per_rank")),
    ("FAIL", "record-incomplete", "no time_s", _unset("time_s")),
    ("FAIL", "record-incomplete", "no bytes", _unset("bytes")),
    ("FAIL", "wrong-data", "wrong before", _set("correctness", "before", value=False)),
    ("FAIL", "wrong-data", "wrong after", _set("correctness", "after", value=False)),
    ("FAIL", "correctness-missing", "no correctness", _unset("correctness")),
    ("FAIL", "correctness-missing", "not checked after", _set("correctness", "after", value=None)),
    ("FAIL", "correctness-missing", "nothing compared", _set("correctness", "elements_checked", value=0)),
    ("FAIL", "file-missing", "no config.yaml", _remove("config.yaml")),
    ("FAIL", "file-missing", "empty launch.json", _put("launch.json", "")),
    ("FAIL", "file-missing", "no metadata", _remove("metadata/node-node2.toml")),
    ("FAIL", "file-missing", "no token matrix", _remove("RESULTS/token_matrix.txt")),
    ("FAIL", "file-missing", "empty token matrix", _put("RESULTS/token_matrix_kb.txt", "")),
    ("INVALID", "config-differs", "other tokens", _set("num_tokens", value=256)),
    ("INVALID", "config-differs", "tokens is a float", _set("num_tokens", value=128.0)),
    ("INVALID", "config-differs", "other backend", _set("backend", value="nccl")),
    ("INVALID", "config-differs", "other mode", _set("mode", value="low_latency")),
    ("INVALID", "config-differs", "other type", _set("data_type", value="fp8")),
    ("INVALID", "config-differs", "one host", _set("num_hosts", value=1)),
    ("INVALID", "figure-impossible", "bandwidth 0", _set("global_bw", value=0)),
    ("INVALID", "figure-impossible", "bandwidth negative", _set("global_bw", value=-1.0)),
    ("INVALID", "figure-impossible", "time is NaN", _set("deepep_time", value=math.nan)),
    ("INVALID", "figure-impossible", "time is infinite", _set("deepep_time", value=math.inf)),
    (
        "INVALID",
        "figure-impossible",
        "a link that moved nothing is null, not 0",
        _set("simple_nvl_bw", value=0),
    ),
    ("INVALID", "figure-impossible", "bandwidth of other bytes", _set("bytes", "global", value=50_000_000)),
    ("INVALID", "figure-impossible", "time is not the median", _set("time_s", "median", value=0.005)),
    ("INVALID", "figure-impossible", "an iteration lacks", _set("time_s", "iterations", value=[0.004] * 4)),
    (
        "INVALID",
        "figure-impossible",
        "a rank's mean below its minimum",
        _set("per_rank", 1, "min_s", value=1.0),
    ),
    ("INVALID", "not-a-measurement", "a fault was asked for", _set("notes", value=["NOT A MEASUREMENT: x"])),
    ("INVALID", "link-limit", "faster than NVLink", _set("wire_nvl_bw", value=1801.0)),
    ("INVALID", "link-limit", "faster than any NIC", _set("wire_rdma_bw", value=150.0)),
]


@pytest.mark.parametrize(
    ("verdict", "code", "what", "change"), BROKEN, ids=[f"{b[1]}: {b[2]}" for b in BROKEN]
)
def test_one_broken_thing_gives_its_reason(
    tmp_path: Path, verdict: str, code: str, what: str, change: Break
) -> None:
    run, run_dir = _good(tmp_path)
    change(run, run_dir)

    judged = judge_run(run, run_dir, make_session())

    assert judged["reasons"], what
    assert judged["verdict"] == verdict
    assert judged["reasons"][0]["code"] == code
    assert _causes(judged) == {code}
    json.dumps(judged, allow_nan=False)


def test_a_missing_trace_fails(tmp_path: Path) -> None:
    run, run_dir = _good(tmp_path, traces=4)
    (run_dir / "traces/rank-0002.json").unlink()

    judged = judge_run(run, run_dir, make_session())

    assert (judged["verdict"], _causes(judged)) == ("FAIL", {"trace-missing"})
    assert "rank 2" in judged["reasons"][0]["text"]


class TestNothingThere:
    """No data is never a pass."""

    def test_no_directory(self, tmp_path: Path) -> None:
        judged = judge_run(make_run(), tmp_path / "Tests.1/0", make_session())
        assert (judged["verdict"], _causes(judged)) == ("NOT_RUN", {"not-started"})

    def test_empty_directory_judged_twice(self, tmp_path: Path) -> None:
        (tmp_path / "Tests.1/0").mkdir(parents=True)
        first = judge_run(make_run(), tmp_path / "Tests.1/0")
        assert first["verdict"] == "NOT_RUN"
        assert judge_run(make_run(), tmp_path / "Tests.1/0") == first

    def test_interrupted_session(self, tmp_path: Path) -> None:
        judged = judge_run(make_run(), tmp_path / "Tests.1/0", make_session("interrupted"))
        assert (judged["verdict"], _causes(judged)) == ("NOT_RUN", {"session-interrupted"})

    def test_a_run_that_was_started_is_not_called_not_run(self, tmp_path: Path) -> None:
        """A controller that was lost while it ran fetched nothing."""
        events: list[dict[str, Any]] = [
            {"event": "rendezvous"},
            {"event": "start", "host": "node1", "status": "running"},
        ]
        for event in events:
            event.update(t="2026-01-02T03:04:05Z", run="Tests.1/0")
        write(tmp_path / "events.jsonl", "".join(json.dumps(event) + "\n" for event in events))
        judged = judge_run(make_run(), tmp_path / "Tests.1/0", make_session())
        assert (judged["verdict"], _causes(judged)) == ("FAIL", {"not-collected"})
        assert "started on node1, but nothing of it was fetched" in judged["reasons"][0]["text"]

    @pytest.mark.parametrize("kind", ["start_post_comp", "start_post_init"])
    def test_dependency_failed(self, tmp_path: Path, kind: str) -> None:
        write(tmp_path / "First/0/verdict.json", {"verdict": "FAIL"})
        run = make_run("Second/0", after=[{"type": kind, "run": "First/0"}])
        judged = judge_run(run, tmp_path / "Second/0", make_session())
        assert (judged["verdict"], _causes(judged)) == ("NOT_RUN", {"dependency-not-passed"})
        assert "First/0, which is FAIL" in judged["reasons"][0]["text"]

    @pytest.mark.parametrize(
        ("because", "code"), [("First/0", "dependency-not-passed"), (None, "not-started")]
    )
    def test_what_the_controller_says(self, tmp_path: Path, because: str | None, code: str) -> None:
        skipped = {"reason": "host node1 did not pass its preflight", "because": because, "at": "2026-01-02"}
        write(tmp_path / "Tests.1/0/skipped.json", skipped)
        judged = judge_run(make_run(), tmp_path / "Tests.1/0", make_session("interrupted"))
        assert (judged["verdict"], _causes(judged)) == ("NOT_RUN", {code})
        assert "did not pass its preflight" in judged["reasons"][0]["text"]

    @pytest.mark.parametrize("verdict", ["PASS", "UNVERIFIED"])
    def test_dependency_completed_is_no_excuse(self, tmp_path: Path, verdict: str) -> None:
        write(tmp_path / "First/0/verdict.json", {"verdict": verdict})
        run = make_run("Second/0", after=[{"type": "start_post_comp", "run": "First/0"}])
        judged = judge_run(run, tmp_path / "Second/0", make_session())
        assert _causes(judged) == {"not-started"}


class TestAccompanyingRun:
    """A run with end_post_comp is stopped on purpose: what must hold until then decides."""

    AFTER = ({"type": "end_post_comp", "run": "Main/0"},)
    STOP = '{"t": "2026-01-02T03:04:10.000Z", "event": "stop", "run": "Load/0"}\n'

    def _stopped(self, tmp_path: Path, **state: Any) -> tuple[Run, Path]:
        run, run_dir = _good(tmp_path, run_id="Load/0", after=self.AFTER)
        for name in ("markers/node1.json", "markers/node2.json", f"{result_dir(run)}/results.json"):
            (run_dir / name).unlink()
        asked = {"outcome": "stopped", "exit_code": None, "phase": "timing", "cause": "ends with Main/0"}
        for host in ("node1", "node2"):
            _state(host, **{**asked, **state})(run, run_dir)
        return run, run_dir

    def test_stopped_at_work_passes_and_says_so(self, tmp_path: Path) -> None:
        run, run_dir = self._stopped(tmp_path)
        judged = judge_run(run, run_dir, make_session())
        assert (judged["verdict"], judged["reasons"]) == ("PASS", [])
        assert "stopped when Main/0 ended, as planned" in judged["notes"][0]

    @pytest.mark.parametrize("phase", ["rendezvous", "prepare", "check_before", None])
    def test_stopped_before_its_data_were_checked_fails(self, tmp_path: Path, phase: str | None) -> None:
        run, run_dir = self._stopped(tmp_path, phase=phase)
        judged = judge_run(run, run_dir, make_session())
        assert (judged["verdict"], judged["reasons"][0]["code"]) == ("FAIL", "stopped-too-early")

    def test_stopped_by_somebody_else_fails(self, tmp_path: Path) -> None:
        run, run_dir = self._stopped(tmp_path, cause="stopped-by-command")
        judged = judge_run(run, run_dir, make_session())
        assert (judged["verdict"], judged["reasons"][0]["code"]) == ("FAIL", "stopped")

    def test_a_supervisor_that_did_not_answer_the_stop_fails(self, tmp_path: Path) -> None:
        run, run_dir = self._stopped(tmp_path, cause="ends with Main/0; the supervisor did not answer")
        assert judge_run(run, run_dir, make_session())["verdict"] == "FAIL"

    def test_an_images_own_program_stays_unverified(self, tmp_path: Path) -> None:
        run, run_dir = self._stopped(tmp_path, phase=None)
        judged = judge_run({**run, "program": "image"}, run_dir, make_session())
        assert (judged["verdict"], _causes(judged)) == ("UNVERIFIED", {"program-unverified"})

    def test_what_torchrun_prints_when_stopped_is_no_error(self, tmp_path: Path) -> None:
        run, run_dir = self._stopped(tmp_path)
        write(run_dir / "logs/node1.stderr.txt", STOPPED)
        assert judge_run(run, run_dir, make_session())["verdict"] == "PASS"

    @pytest.mark.parametrize(("failed", "verdict"), [("10.200", "PASS"), ("09.800", "FAIL")])
    def test_a_host_that_lost_its_peers_to_the_stop_passes(
        self, tmp_path: Path, failed: str, verdict: str
    ) -> None:
        """Hosts are not stopped in one instant: the ranks of the others notice."""
        run, run_dir = self._stopped(tmp_path)
        write(tmp_path / "events.jsonl", self.STOP)
        at = f"2026-01-02T03:04:{failed}Z"
        _state("node2", exit_code=1, phase="timing", cause="x", first_failure_at=at)(run, run_dir)
        write(run_dir / "logs/node2.stderr.txt", "[rank 3] Connection closed by peer [10.0.0.1]:40601\n")
        assert judge_run(run, run_dir, make_session())["verdict"] == verdict

    def test_a_host_out_of_reach_at_the_stop_fails(self, tmp_path: Path) -> None:
        run, run_dir = self._stopped(tmp_path)
        _state("node2", outcome="lost", exit_code=None, first_failure_at="2026-01-02T03:04:11Z")(run, run_dir)
        assert judge_run(run, run_dir, make_session())["verdict"] == "FAIL"

    def test_processes_left_after_the_stop_fail(self, tmp_path: Path) -> None:
        run, run_dir = self._stopped(tmp_path, leftovers=["7 python"])
        assert judge_run(run, run_dir, make_session())["verdict"] == "FAIL"

    def test_an_error_before_the_stop_fails(self, tmp_path: Path) -> None:
        run, run_dir = self._stopped(tmp_path)
        write(
            run_dir / "logs/node1.stderr.txt",
            "CUDA error: an illegal memory access\nReceived 15 death signal\n",
        )
        judged = judge_run(run, run_dir, make_session())
        assert (judged["verdict"], judged["reasons"][0]["code"]) == ("FAIL", "error-in-log")

    def test_a_failure_before_the_stop_fails(self, tmp_path: Path) -> None:
        run, run_dir = self._stopped(tmp_path, first_failure_at="2026-01-02T03:04:10Z")
        judged = judge_run(run, run_dir, make_session())
        assert (judged["verdict"], judged["reasons"][0]["code"]) == ("FAIL", "stood-still")

    def test_what_ended_by_itself_is_judged_in_full(self, tmp_path: Path) -> None:
        run, run_dir = _good(tmp_path, run_id="Load/0", after=self.AFTER)
        assert judge_run(run, run_dir, make_session())["verdict"] == "PASS"


class TestImageProgram:
    """The image's own program cannot prove its data: UNVERIFIED at best."""

    def _good(self, tmp_path: Path) -> tuple[Run, Path]:
        run, run_dir = _good(tmp_path, program="image", backend="deepep")
        for name in ("markers", "ranks"):
            for file in (run_dir / name).iterdir():
                file.unlink()
        return run, run_dir

    def test_all_well_is_unverified(self, tmp_path: Path) -> None:
        run, run_dir = self._good(tmp_path)
        judged = judge_run(run, run_dir, make_session())
        assert (judged["verdict"], _causes(judged)) == ("UNVERIFIED", {"program-unverified"})
        assert judged["operations"][0]["global_bw"] == 43.0

    def test_an_exit_code_fails(self, tmp_path: Path) -> None:
        run, run_dir = self._good(tmp_path)
        _state("node1", exit_code=2)(run, run_dir)
        assert judge_run(run, run_dir, make_session())["verdict"] == "FAIL"

    def test_other_sizes_are_invalid(self, tmp_path: Path) -> None:
        run, run_dir = self._good(tmp_path)
        _set("num_tokens", value=64)(run, run_dir)
        assert judge_run(run, run_dir, make_session())["verdict"] == "INVALID"


class TestInterrupted:
    """Hosts are not stopped in one instant: what the slower ones say of their peers is not the cause."""

    def test_whoever_stopped_the_run_is_the_cause(self, tmp_path: Path) -> None:
        run, run_dir = _good(tmp_path)
        for host in ("node1", "node2"):
            _state(host, outcome="stopped", exit_code=None, phase="timing", cause="interrupted")(run, run_dir)
        write(run_dir / "logs/node2.stderr.txt", "[rank 3] Connection closed by peer [10.0.0.1]:40601\n")
        judged = judge_run(run, run_dir, make_session())
        first = judged["reasons"][0]
        assert (judged["verdict"], first["code"], first["consequence"]) == ("FAIL", "stopped", False)
        assert (first["host"], first["text"]) == (None, "stopped on all 2 hosts in phase timing: interrupted")
        assert "error-in-log" not in _causes(judged)


class TestTogether:
    """What befalls several hosts at once accuses none of them."""

    @pytest.mark.parametrize(
        ("node1", "node2", "text"),
        [
            (
                {"phase": "timing"},
                {"phase": "timing"},
                "the time limit of 1800 s was reached by all 2 hosts in phase timing",
            ),
            (
                {"phase": "timing"},
                {"phase": "prepare"},
                "the time limit of 1800 s was reached by node1 in phase timing; node2 in phase prepare",
            ),
            (
                {"phase": "timing", "more": "; 3 s of compiling before are not counted"},
                {"outcome": "stopped", "cause": "the time limit was reached on node1", "phase": "timing"},
                "the time limit of 1800 s was reached by all 2 hosts in phase timing: "
                "3 s of compiling before are not counted",
            ),
            (
                {"phase": "timing"},
                {
                    "outcome": "exited",
                    "code": 1,
                    "cause": "the program ended with exit code 1",
                    "phase": "timing",
                    "first_failure_at": "2026-01-02T03:34:06Z",
                },
                "the time limit of 1800 s was reached by all 2 hosts in phase timing",
            ),
        ],
    )
    def test_a_time_limit(
        self, tmp_path: Path, node1: dict[str, Any], node2: dict[str, Any], text: str
    ) -> None:
        run, run_dir = _good(tmp_path)
        for number, host, changes in ((5, "node1", node1), (45, "node2", node2)):
            more = changes.pop("more", "")
            cause = f"still running at the time limit of 1800 s, in phase {changes['phase']}{more}"
            failed = None if "outcome" in changes else f"2026-01-02T03:34:{number:02d}Z"
            made = {"outcome": "timeout", "cause": cause, "first_failure_at": failed, **changes}
            _state(host, exit_code=made.pop("code", None), **made)(run, run_dir)
        judged = judge_run(run, run_dir, make_session())
        first = judged["reasons"][0]
        assert (judged["verdict"], first["host"], first["text"]) == ("TIMEOUT", None, text)
        assert judged["suspect"]["host"] is None or "outcome" in node2

    def test_a_host_that_has_its_own_reason_is_named(self, tmp_path: Path) -> None:
        run, run_dir = _good(tmp_path)
        limit = "still running at the time limit of 1800 s, in phase timing"
        made = {"outcome": "timeout", "exit_code": None, "phase": "timing"}
        late = {**made, "first_failure_at": "2026-01-02T03:34:05Z"}
        _state("node1", cause=limit, **late)(run, run_dir)
        stood = f"stopped by a signal (SIGSTOP or a debugger): pid 7 (T): python; {limit}"
        _state("node2", cause=stood, first_failure_at="2026-01-02T03:10:00Z", **made)(run, run_dir)
        first = judge_run(run, run_dir, make_session())["reasons"][0]
        assert (first["host"], "stopped by a signal" in first["text"]) == ("node2", True)

    def test_what_was_seen_of_a_lost_host_is_said_to_be_old(self, tmp_path: Path) -> None:
        run, run_dir = _good(tmp_path)
        _state(
            "node2",
            outcome="lost",
            exit_code=None,
            phase="rendezvous",
            cause="host node2 is unreachable",
            seen_at="2026-01-02T03:04:10.000Z",
            away_since=1767323057.5,
            first_failure_at="2026-01-02T03:04:10.000Z",
        )(run, run_dir)
        first = judge_run(run, run_dir, make_session())["reasons"][0]
        assert first["text"] == (
            "the processes on node2 disappeared, last seen in phase rendezvous 8 s before it answered no "
            "more: host node2 is unreachable"
        )


class TestCause:
    """The first failure in time is the cause; the others follow from it."""

    def test_first_in_time(self, tmp_path: Path) -> None:
        run, run_dir = _good(tmp_path)
        _state("node1", exit_code=1, first_failure_at="2026-01-02T03:04:12Z")(run, run_dir)
        _state("node2", exit_code=-9, first_failure_at="2026-01-02T03:04:10Z")(run, run_dir)
        _remove("markers/node1.json")(run, run_dir)
        judged = judge_run(run, run_dir, make_session())
        assert [(r["code"], r["host"], r["consequence"]) for r in judged["reasons"]] == [
            ("exit-code", "node2", False),
            ("exit-code", "node1", True),
            ("marker-missing", "node1", True),
        ]

    def test_a_crash_before_another_hosts_timeout_is_a_fail(self, tmp_path: Path) -> None:
        run, run_dir = _good(tmp_path)
        _state("node1", outcome="timeout", first_failure_at="2026-01-02T03:34:05Z")(run, run_dir)
        _state("node2", exit_code=1, first_failure_at="2026-01-02T03:04:10Z")(run, run_dir)
        assert judge_run(run, run_dir, make_session())["verdict"] == "FAIL"

    def test_a_timeout_and_the_tracebacks_of_its_stop_is_a_timeout(self, tmp_path: Path) -> None:
        run, run_dir = _good(tmp_path)
        for host in ("node1", "node2"):
            _state(host, outcome="timeout", exit_code=None, first_failure_at="2026-01-02T03:34:05Z")(
                run, run_dir
            )
        write(
            run_dir / "logs/node1.stderr.txt",
            STOPPED,
        )
        judged = judge_run(run, run_dir, make_session())
        assert (judged["verdict"], _causes(judged)) == ("TIMEOUT", {"time-limit"})

    def test_the_rank_that_the_others_name(self, tmp_path: Path) -> None:
        run, run_dir = _good(tmp_path)
        for host in ("node1", "node2"):
            _state(host, exit_code=1, first_failure_at="2026-01-02T03:04:10Z")(run, run_dir)
        victim = "[rank 0] consequence of rank 3 on host node2: Traceback (most recent call last):\n"
        write(run_dir / "logs/node1.stderr.txt", victim + "MemoryError\n")
        write(
            run_dir / "logs/node2.stderr.txt",
            "Traceback (most recent call last):\n  File x\nValueError: bad\n",
        )
        first = judge_run(run, run_dir, make_session())["reasons"][0]
        assert (first["host"], first["line"], "ValueError: bad" in first["text"]) == ("node2", 1, True)

    def test_a_rank_that_was_silent_because_it_waited_is_not_the_first(self, tmp_path: Path) -> None:
        """As on H100s, where rank 3 hung: DeepEP keeps a rank that waits from saying that it lives."""
        run, run_dir = _good(tmp_path)
        for host in ("node1", "node2"):
            _state(host, exit_code=1, first_failure_at="2026-01-02T03:04:10Z")(run, run_dir)
        waits = (
            "[rank {}] frozen for 12.1 s, outside of Python (last: prepare): it waits for another rank "
            "or for its GPU\n"
        )
        silent = "silent for 10.0 s: it is dead or frozen, or its host is lost (last: prepare)"
        accuses = f"[rank 3] rank 2 on host node2: {silent}\n"
        write(run_dir / "logs/node1.stderr.txt", waits.format(0) + waits.format(1))
        write(run_dir / "logs/node2.stderr.txt", accuses + waits.format(2))
        suspect = judge_run(run, run_dir, make_session())["suspect"]
        assert (suspect["host"], suspect["rank"]) == ("node2", 3)
        assert "never said that it waited" in suspect["text"]

    def test_a_cause_before_a_victims_line_in_the_same_log(self, tmp_path: Path) -> None:
        run, run_dir = _good(tmp_path)
        _state("node1", exit_code=1, first_failure_at="2026-01-02T03:04:10Z")(run, run_dir)
        write(run_dir / "logs/node1.stderr.txt", "Connection closed by peer [1.2.3.4]\nCUDA error: bad\n")
        first = judge_run(run, run_dir, make_session())["reasons"][0]
        assert (first["line"], first["remedy"] is not None) == (2, True)

    @pytest.mark.parametrize(
        ("fault", "says"),
        [
            ("kill", "Signal 9 (SIGKILL) received by PID"),
            ("wrong-data", "wrong data after dispatch at rank 3"),
            ("raise", "RuntimeError: DEEPEP_BENCH_FAULT asked for this exception"),
            ("exit", "rank 3 on host node2: silent"),
            ("oom", "you tried to allocate"),
            ("stop", "rank 3 on host node2: silent"),
        ],
    )
    def test_logs_of_real_failures(self, tmp_path: Path, fault: str, says: str) -> None:
        """Every host failed, node1 first by the clock: the logs say that it was rank 3 on node2."""
        run, run_dir = _good(tmp_path)
        for second, host in enumerate(("node1", "node2")):
            _state(host, exit_code=1, first_failure_at=f"2026-01-02T03:04:1{second}Z")(run, run_dir)
            log = Path(__file__).parent / "fixtures" / fault / f"{host}.stderr.txt"
            write(run_dir / "logs" / f"{host}.stderr.txt", log.read_text())
        judged = judge_run(run, run_dir, make_session())
        cause = judged["reasons"][0]
        assert (judged["verdict"], cause["code"], _causes(judged)) == (
            "FAIL",
            "error-in-log",
            {"error-in-log"},
        )
        assert says in cause["text"]
        assert cause["host"] == "node2" or "on host node2" in cause["text"]

    def test_wrong_data_explain_the_exit_code(self, tmp_path: Path) -> None:
        run, run_dir = _good(tmp_path)
        _set("correctness", "before", value=False)(run, run_dir)
        _state("node1", exit_code=1, first_failure_at="2026-01-02T03:04:10Z")(run, run_dir)
        judged = judge_run(run, run_dir, make_session())
        assert (judged["verdict"], _causes(judged)) == ("FAIL", {"wrong-data"})


def test_a_race_between_agents_that_end_is_no_failure(tmp_path: Path) -> None:
    log = Path(__file__).parent / "fixtures" / "exit-barrier" / "node2.stderr.txt"
    run, run_dir = _good(tmp_path)
    write(run_dir / "logs/node2.stderr.txt", log.read_text())
    assert judge_run(run, run_dir, make_session())["verdict"] == "PASS"
    write(
        run_dir / "logs/node2.stderr.txt", log.read_text() + "Traceback (most recent call last):\nE: other\n"
    )
    assert judge_run(run, run_dir, make_session())["verdict"] == "FAIL"


def test_an_older_attempts_results_are_not_taken(tmp_path: Path) -> None:
    run, run_dir = _good(tmp_path)
    write(run_dir / "results/benchmark_4_ranks_20250101_000000_standard/results.json", "[{")
    judged = judge_run(run, run_dir, make_session() | {"stamp": STAMP})
    assert (judged["verdict"], judged["result_dir"]) == ("PASS", result_dir(run))


def test_links_out_of_the_tree_are_not_followed(tmp_path: Path) -> None:
    run, run_dir = _good(tmp_path)
    outside = tmp_path / "outside.json"
    (run_dir / "markers/node1.json").rename(outside)
    (run_dir / "markers/node1.json").symlink_to(outside)
    assert _causes(judge_run(run, run_dir, make_session())) == {"marker-missing"}


def test_what_cannot_be_judged_is_no_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, run_dir = _good(tmp_path)
    monkeypatch.setattr("deepep_host.judge.run.check_ends", lambda evidence: 1 / 0)
    judged = judge_run(run, run_dir, make_session())
    assert (judged["verdict"], _causes(judged)) == ("FAIL", {"judge-error"})


def test_the_made_up_records_fit_the_schema(tmp_path: Path) -> None:
    schema = json.loads((Path(__file__).parents[2] / "schemas/results.schema.json").read_text())
    run, run_dir = _good(tmp_path)
    jsonschema.validate(json.loads((run_dir / result_dir(run) / "results.json").read_text()), schema)


def test_judging_twice_gives_the_same(tmp_path: Path) -> None:
    run, run_dir = _good(tmp_path)
    judge_run(run, run_dir, make_session())
    first = (run_dir / "verdict.json").read_bytes()
    judge_run(run, run_dir, make_session())
    assert (run_dir / "verdict.json").read_bytes() == first


def test_every_code_is_shown_to_be_reached() -> None:
    """A code that no tree triggers would be a promise without a proof."""
    elsewhere = {
        "not-started",
        "dependency-not-passed",
        "session-interrupted",
        "stopped-too-early",
        "program-unverified",
        "judge-error",
        "trace-missing",
        "reference-missed",
        "reference-absent",
        "link-unused",
        "image-differs",
        "slurm-state",
        "slurm-job-missing",
    }
    assert {code for _, code, _, _ in BROKEN} | elsewhere == set(CODES)


def test_an_unknown_code_is_refused() -> None:
    with pytest.raises(KeyError):
        reason("no-such-code", "x")
