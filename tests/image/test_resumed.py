"""Images of a resumed session: staged anew, for the runs that are repeated, on the hosts of those alone."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from deepep_host.image import carrier
from deepep_host.session import Session, open_session, resume_session

from compiler.resources import resource
from tests.host.bundles import stand_in_run

sys.path.insert(0, str(resource("roles") / "deepep_common" / "controller"))

IMAGE = "registry.example/team/image:1"


class Worker:
    """What a job asks of the worker of one host."""

    limit = 0.0

    def __init__(self, session: Session, host: str) -> None:
        self.host = host
        self._session = session

    def session(self) -> Session:
        return self._session

    def argument(self, name: str, default: Any = None) -> Any:
        return default


def job(session: Session, host: str) -> Any:
    from deepep_staging import Job

    return Job(Worker(session, host), session.played(), IMAGE, "podman")  # type: ignore[arg-type]


def opened(folder: Path) -> Session:
    """Opens a session of two runs of one image, each on a host of its own."""
    runs = [
        stand_in_run(entry, [], image=IMAGE, container_runtime="podman",
                     hosts=[{"name": host, "node_rank": 0}])
        for entry, host in (("first", "node1"), ("second", "node2"))
    ]  # fmt: skip
    plan = {"scenario": {"name": "images"}, "launcher": "ssh", "hosts": {"node1": {}, "node2": {}},
            "runs": runs}  # fmt: skip
    (folder / "plan.json").write_text(json.dumps(plan))
    return open_session(folder, folder / "results", "here", "2.19")


def resumed(session: Session) -> Session:
    return resume_session(Path(session.bundle_dir), session.folder, "here", "2.19", everything=False)


def test_what_became_of_an_image_is_not_taken_for_what_became_of_it_before(tmp_path: Path) -> None:
    session = opened(tmp_path)
    before = job(session, "node1").board
    assert list(before.read()["hosts"]) == ["node1", "node2"]
    before.decide({"digest": "sha256:1"})
    before.update("node1", phase="ready")
    before.refuse("registry_down", "the registry is down")
    again = job(resumed(session), "node1").board.read()
    assert (again["refused"], again["spec"]) == (None, None)
    assert again["hosts"] == {"node1": {"phase": None}, "node2": {"phase": None}}


def test_nobody_waits_for_hosts_whose_runs_are_kept(tmp_path: Path) -> None:
    session = opened(tmp_path)
    kept = session.run_dir("first/0")
    kept.mkdir(parents=True)
    (kept / "verdict.json").write_text('{"verdict": "PASS"}')
    second = resumed(session)
    assert [run["id"] for run in second.played()] == ["second/0"]
    board = job(second, "node2").board
    board.update("node2", phase="ready")
    assert board.over()


def test_whatever_a_killed_import_left_on_the_controller_is_removed(tmp_path: Path) -> None:
    layers = tmp_path / ".key.file.part.enroot"
    (layers / "cache").mkdir(parents=True)
    for name in ("key.file", "key.file.part", "key.json"):
        (tmp_path / name).touch()
    carrier.sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["key.json"]
    carrier.sweep(tmp_path / "nothing there")
