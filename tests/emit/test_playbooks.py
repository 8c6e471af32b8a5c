"""The playbooks under the real Ansible: valid, clean, and never a success that did nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import REPO
from tests.emit.bundles import INPUT, compile_to, play, tool

PLAYBOOKS = ("site.yml", "stop.yml", "collect.yml", "cleanup.yml", "look.yml")


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose hosts are this machine."""
    folder = tmp_path_factory.mktemp("local")
    (folder / "hosts.yml").write_text(
        (INPUT / "inventory" / "hosts.yml")
        .read_text()
        .replace("ansible_user: bench", "ansible_connection: local")
    )
    return compile_to(folder / "bundle", inventory=folder / "hosts.yml")


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_syntax(bundle: Path, playbook: str) -> None:
    done = play(bundle, "--syntax-check", playbook)
    assert done.returncode == 0, done.stderr


def test_yamllint(bundle: Path) -> None:
    for configuration in (["-d", "{extends: default}"], ["-c", str(REPO / ".yamllint")]):
        files = [path for path in bundle.rglob("*.yml") if "roles" not in path.parts]
        done = subprocess.run(
            [tool("yamllint"), "--strict", *configuration, *files],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout


def test_ansible_lint(bundle: Path, tmp_path: Path) -> None:
    shutil.copytree(bundle, tmp_path / "bundle")  # it leaves a cache
    # The roles are copies, which `make lint` checks once.
    options = ["--offline", "--profile", "production", "--nocolor", "--exclude", "roles/"]
    done = subprocess.run(
        [tool("ansible-lint"), *options, *PLAYBOOKS, "runs", "inventory"],
        cwd=tmp_path / "bundle", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Passed: 0 failure(s), 0 warning(s)" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--limit", "node01"], "--limit would leave out parts of the plan"),
        (["--limit", "all"], "--limit would leave out parts of the plan"),
        (["--limit", "nowhere"], "nowhere"),
        (["--limit", "localhost"], ""),
        (["--tags", "x"], "--tags would leave out parts of the plan"),
        (["--tags", "always"], "--tags would leave out parts of the plan"),
        (["--skip-tags", "x"], "--skip-tags would leave out parts of the plan"),
        (["--start-at-task", "no such task"], "--start-at-task would leave out parts of the plan"),
        (["--start-at-task", "Judge all runs and write the summary"], "--start-at-task would leave out"),
        (["-i", "other,"], "the inventory lacks hosts of the plan: node01, node02"),
        (["-i", "/nonexistent"], ""),
    ],
)
def test_leaving_something_out_is_never_a_success(local: Path, options: list[str], says: str) -> None:
    done = play(local, *options, "site.yml")
    assert done.returncode != 0
    assert says in " ".join((done.stdout + done.stderr).split())
    assert not (local / "results").exists()


def test_another_configuration_is_refused(local: Path, tmp_path: Path) -> None:
    done = play(local, "-i", str(local / "inventory" / "hosts.yml"), str(local / "site.yml"), cwd=tmp_path)
    assert done.returncode != 0
    assert not (local / "results").exists()


def test_a_damaged_bundle_is_refused(local: Path, tmp_path: Path) -> None:
    shutil.copytree(local, tmp_path / "bundle")
    (tmp_path / "bundle" / "stop.yml").write_text("---\n")
    done = play(tmp_path / "bundle", "site.yml")
    assert done.returncode != 0
    assert "changed after it was compiled: stop.yml" in " ".join(done.stdout.split()), done.stdout


def test_the_inventory_is_read_back_as_it_was(bundle: Path, tmp_path: Path) -> None:
    """A moved bundle has the same hosts, in the same groups, with the same way to connect."""
    moved = tmp_path / "moved"
    shutil.copytree(bundle, moved)

    def listing(*arguments: str, cwd: Path) -> dict[str, dict[str, object]]:
        done = subprocess.run(
            [tool("ansible-inventory"), "--list", *arguments], cwd=cwd, capture_output=True, check=True
        )
        found: dict[str, dict[str, object]] = json.loads(done.stdout)
        return found

    original = listing("-i", str(INPUT / "inventory"), cwd=tmp_path)
    travelled = listing(cwd=moved)
    for name in ("node01", "node02", "node03", "node04"):
        before: dict[str, object] = original["_meta"]["hostvars"][name]  # type: ignore[index]
        after: dict[str, object] = travelled["_meta"]["hostvars"][name]  # type: ignore[index]
        assert {key: text for key, text in after.items() if key in before} == after
        assert {key for key in before if key.startswith("ansible_")} <= set(after)
    assert travelled["standard_nodes"]["hosts"] == original["standard_nodes"]["hosts"]
    assert play(moved, "--syntax-check", "site.yml").returncode == 0
