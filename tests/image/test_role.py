"""The role on this machine alone, against a registry that stands in: a vault, a refusal, a leaked secret."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from deepep_host import credentials

from tests.image.registry_stand_in import PASSWORD, USER, StandIn
from tests.image.staging import Staging

AGAIN = """---
- name: Find and close the session again
  hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - name: Find
      ansible.builtin.import_role:
        name: deepep_run
        tasks_from: find
    - name: Close
      ansible.builtin.import_role:
        name: deepep_run
        tasks_from: close
"""


@pytest.fixture
def vaulted(tmp_path: Path, registry: StandIn) -> tuple[str, ...]:
    """The options that give a playbook credentials for the registry, the password in a vault."""
    key = tmp_path / "vault-password"
    key.write_text("of the vault")
    tool = Path(sys.executable).with_name("ansible-vault")
    secret = subprocess.run(
        [tool, "encrypt_string", "--vault-password-file", key, "--stdin-name", "password"],
        input=PASSWORD, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    inventory = tmp_path / "vault.yml"
    lines = "\n".join(f"        {line}" for line in secret.strip().splitlines())
    inventory.write_text(
        "all:\n  vars:\n    deepep_registries:\n"
        f"      - registry: {registry.name}\n        username: {USER}\n{lines}\n"
    )
    return ("-i", "hosts.yml", "-i", str(inventory), "--vault-password-file", str(key))


def credentials_of_a_dead_process() -> Path:
    """Returns a directory with credentials in memory whose process is gone."""
    name = "deepep-credentials-killed"
    with subprocess.Popen(["true"]) as process:
        folder = credentials.folders()[0] / f"{name}-{process.pid}-{time.monotonic_ns()}"
    folder.mkdir(mode=0o700)
    (folder / ".credentials").write_text("machine registry.example login me password made-up")
    return folder


def test_a_vaulted_password_reaches_the_registry_and_leaves_no_trace(
    tmp_path: Path, registry: StandIn, vaulted: tuple[str, ...]
) -> None:
    host = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "deepep_work_dir": str(tmp_path / "work"),
    }
    staging = Staging(tmp_path / "play", {"here": host}, f"{registry.name}/a/b:7", "podman")
    assert staging.play(*vaulted, "-vvvv") == 2
    # The registry has accepted the login: it knows the repository's tags.
    assert staging.skipped() == (f"{registry.name} has a/b, but not the tag 7: its tags are 1, index, 2.0"), (
        staging.log
    )
    assert PASSWORD not in staging.log
    run = json.loads((staging.session / "run.json").read_text())
    assert run["secret_scan"]["searched"] > 5
    assert run["secret_scan"]["hits"] == []
    assert run["secret_scan"]["not_searched"] == []

    # Whatever brings it into the tree: it is found before anything is reported, and the session fails for it.
    session = staging.session
    (session / "leaked.txt").write_text(f"--password '{PASSWORD}'\n")
    # A playbook that was killed while the controller's own enroot imported an image leaves these.
    layers = session / ".state" / "images" / run["run_id"] / ".key.file.part.enroot"
    (layers / "cache").mkdir(parents=True)
    left = credentials_of_a_dead_process()
    (staging.folder / "site.yml").write_text(AGAIN)
    assert staging.play(*vaulted) == 2
    assert "leaked.txt and was removed there: revoke it" in staging.log
    assert (session / "leaked.txt").read_text() == "--password '[secret removed]'\n"
    assert PASSWORD not in staging.log
    assert not layers.exists()
    assert not left.exists()
    run = json.loads((session / "run.json").read_text())
    assert run["secret_scan"]["hits"] == [{"file": "leaked.txt", "registry": registry.name, "count": 1}]

    # Without the vault's password nothing can be searched for, and that is said.
    (staging.folder / "site.yml").write_text(AGAIN)
    assert staging.play() == 2
    run = json.loads((session / "run.json").read_text())
    assert run["secret_scan"]["not_searched"]
