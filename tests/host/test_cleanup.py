"""What old sessions left on a host goes once it is old enough, and never what still runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from compiler.resources import host_code, resource
from tests.host.conftest import OneHost

host_code()

from deepep_host import cleanup, control, lease  # noqa: E402
from deepep_host.cleanup import DAY_S, age_s, clean, expire  # noqa: E402
from deepep_host.state import ended, host_dir, new_state, run_dir, write_state  # noqa: E402

OLD, YOUNG, STAGED = "20250101_000000-aaaaaa", "20260101_000000-bbbbbb", "20260101_000000-cccccc"


@pytest.fixture
def work_dir(tmp_path: Path) -> Path:
    """What an old and a young session left uncollected, and one that has started nothing yet."""
    work = tmp_path / "work"
    for session in (OLD, YOUNG, STAGED):
        base = host_dir(work, session, "n1")
        base.mkdir(parents=True)
        (base / "plan.json").write_text("{}")
        if session != STAGED:
            folder = run_dir(base, "a/0")
            folder.mkdir(parents=True)
            (folder / "launch.json").write_text("{}")
            write_state(folder, ended(new_state(session, "a/0", "n1"), "exited", None, 0))
    grow_old(host_dir(work, OLD, "n1"), 20)
    return work


def grow_old(base: Path, days: float) -> None:
    """Makes everything in a directory look as if it had been left alone for so long."""
    then = (base / "plan.json").stat().st_mtime - days * DAY_S
    for path in [base, *base.rglob("*")]:
        os.utime(path, (then, then))


def test_a_later_session_removes_what_is_old_and_says_so(work_dir: Path) -> None:
    (text,) = expire(work_dir, "n1", 14 * DAY_S, "20260202_000000-dddddd")
    assert OLD in text
    assert "20 days old, with what was never collected of a/0" in text
    assert sorted(path.name for path in work_dir.iterdir()) == [YOUNG, STAGED]


def test_the_session_itself_is_never_too_old(work_dir: Path) -> None:
    assert expire(work_dir, "n1", 14 * DAY_S, OLD) == []


def test_another_hosts_files_on_a_shared_disk_stay(work_dir: Path) -> None:
    host_dir(work_dir, OLD, "n2").mkdir()
    expire(work_dir, "n1", 14 * DAY_S, "")
    assert host_dir(work_dir, OLD, "n2").is_dir()


def test_what_still_runs_is_never_removed(host: OneHost) -> None:
    host.stage(long={"words": ["sleep=600"]})
    host.start("long")
    host.wait("long", "running")
    grow_old(host.base, 100)
    assert age_s(host.base) > 99 * DAY_S
    assert expire(host.work_dir, host.name, 14 * DAY_S, "") == []
    done = clean(host.work_dir, host.name, "", [], False, 14 * DAY_S)
    assert done["in_use"] == [host.run_id]
    assert host.state("long")["status"] == "running"


def test_a_session_between_two_runs_keeps_its_host_and_its_files(work_dir: Path) -> None:
    base, leases = host_dir(work_dir, OLD, "n1"), work_dir.parent / "leases"
    lease.take(leases, base, OLD, "n1", (), {"started_by": "someone", "results": "/results"})
    grow_old(base, 20)
    (held,) = leases.iterdir()
    assert expire(work_dir, "n1", 14 * DAY_S, "") == []
    assert clean(work_dir, "n1", "", [], False, 0.0)["in_use"] == [OLD]
    assert held.is_file() and run_dir(base, "a/0").is_dir()
    # Nobody has been heard of for long.
    os.utime(held, (1, 1))
    assert clean(work_dir, "n1", "", [], False, 0.0)["removed"] == [str(base)]


def test_cleaning_up_without_a_session_waits_for_the_age(work_dir: Path) -> None:
    dry = clean(work_dir, "n1", "", [], True, 14 * DAY_S)
    done = clean(work_dir, "n1", "", [], False, 14 * DAY_S)
    assert dry == done
    assert done["removed"] == [str(host_dir(work_dir, OLD, "n1"))]
    assert done["kept"] == [f"{YOUNG}/a/0"]
    assert done["in_use"] == [STAGED]
    everything = clean(work_dir, "n1", "", [], False, 0.0)
    assert len(everything["removed"]) == 2
    assert not work_dir.exists()


def test_the_sessions_own_end_removes_what_is_old_of_others(work_dir: Path) -> None:
    done = clean(work_dir, "n1", YOUNG, ["a/0"], False, 14 * DAY_S)
    assert (done["removed"], done["kept"], len(done["expired"])) == (
        [str(host_dir(work_dir, YOUNG, "n1"))],
        ["a/0"],
        1,
    )
    assert run_dir(host_dir(work_dir, YOUNG, "n1"), "a/0").is_dir()


def test_what_killed_runs_left_of_images_goes_in_both_folders(work_dir: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    left = []
    for folder in (work_dir / "images", cache):
        folder.mkdir()
        for name in ("x.sqsh.part", "x.sqsh.lock"):
            (folder / name).touch()
        (folder / ".x.sqsh.part.enroot").mkdir()
        (folder / "whole.sqsh").touch()
        left += [str(folder / "x.sqsh.part"), str(folder / ".x.sqsh.part.enroot")]
    done = clean(work_dir, "n1", "", [], False, 100 * DAY_S, str(cache))
    assert done["removed"] == left
    assert sorted(path.name for path in cache.iterdir()) == ["whole.sqsh"]


def test_the_roles_default_is_the_modules() -> None:
    defaults = yaml.safe_load((resource("roles") / "deepep_cleanup/defaults/main.yml").read_text())
    assert defaults["deepep_cleanup_keep_days"] == cleanup.KEEP_DAYS


def test_what_a_program_removes_while_we_look_fails_nothing(
    work_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = host_dir(work_dir, YOUNG, "n1")
    gone = run_dir(base, "a/0") / "cache" / "tmp"
    gone.mkdir(parents=True)
    scandir = os.scandir

    def removed_before(folder: Any) -> Any:
        if not isinstance(folder, int) and Path(folder) == gone:
            gone.rmdir()
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", removed_before)
    assert control.runs_below(base) == ["a/0"]
    assert not gone.exists()
