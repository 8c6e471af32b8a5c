"""Logs in the real formats of each stage: verdict, signature and suspect that they must lead to."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from deepep_host.judge import judge_run
from deepep_host.judge.catalogue import SIGNATURES

from tests.judge.tree import make_run, make_session, make_state, result_dir, write, write_run

CASES = sorted((Path(__file__).parent / "fixtures" / "cases").glob("*.toml"))


def judge(top: Path, case: dict[str, Any]) -> dict[str, Any]:
    """Builds the tree of a case and judges it."""
    shape = {key: case[key] for key in ("hosts", "ranks_per_host", "mode", "backend") if key in case}
    run = make_run(**shape)
    run["config"] |= case.get("config", {})
    run_dir = write_run(top, run)
    for host, changes in case.get("states", {}).items():
        code = {} if "exit_code" in changes else {"exit_code": None}
        write(run_dir / f"logs/{host}.state.json", make_state(run, host, **code, **changes))
        (run_dir / f"markers/{host}.json").unlink()
    if case.get("states"):
        shutil.rmtree(run_dir / result_dir(run))
    for name, text in case.get("logs", {}).items():
        write(run_dir / f"logs/{name}.txt", text)
    for host, container in case.get("containers", {}).items():
        run["container_runtime"] = container["runtime"]
        write(run_dir / f"logs/{host}.container.json", container)
    for host, counters in case.get("counters", {}).items():
        write(run_dir / f"logs/{host}.counters.json", counters)
    events = [
        {"t": t, "event": "ended", "run": run["id"], "host": host, "outcome": "exited", "exit_code": 1}
        for host, t in case.get("seen", {}).items()
    ]
    write(top / "events.jsonl", "".join(json.dumps(event) + "\n" for event in events))
    return judge_run(run, run_dir, make_session())


@pytest.mark.parametrize("path", CASES, ids=[path.stem for path in CASES])
def test_case(tmp_path: Path, path: Path) -> None:
    case = tomllib.loads(path.read_text(encoding="utf-8"))
    expect = case["expect"]

    judged = judge(tmp_path, case)

    assert judged["verdict"] == expect["verdict"]
    suspect = judged["suspect"] or {}
    wanted = (expect.get("kind"), expect.get("host"), expect.get("rank"))
    assert (suspect.get("kind"), suspect.get("host"), suspect.get("rank")) == wanted, suspect
    if "signature" in expect:
        meaning = next(s.meaning for s in SIGNATURES if s.id == expect["signature"])
        assert any(meaning in reason["text"] for reason in judged["reasons"])
    if "code" in expect:
        assert judged["reasons"][0]["code"] == expect["code"]
    for entry in suspect.get("evidence", []):
        if entry["line"]:
            lines = (tmp_path / "Tests.1/0" / entry["file"]).read_text().splitlines()
            assert entry["line"] <= len(lines)
    schema = json.loads((Path(__file__).parents[2] / "schemas/summary.schema.json").read_text())
    jsonschema.validate(judged, {"$ref": "#/$defs/run", "$defs": schema["$defs"]})


def test_every_kind_of_suspect_is_shown() -> None:
    kinds = {tomllib.loads(path.read_text(encoding="utf-8"))["expect"].get("kind") for path in CASES}
    assert kinds >= {"host", "rank", "gpu", "nic", "link", "configuration", "unknown"}
