"""The bundle as a directory: the same bytes every time, whole or not at all, nobody's files lost."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import jsonschema
import pytest

from compiler.cli.main import run
from compiler.emit.bundle import BundleInUseError, ForeignFolderError, emit_bundle
from compiler.plan.build import build_plan
from compiler.plan.model import Plan
from compiler.resources import resource
from compiler.schema.store import load
from tests.emit.bundles import INPUT, compile_to, content, played
from tests.plan.samples import case, entry, inventory, scenario


def small(name: str = "sample", **arguments: object) -> Plan:
    plan, findings = build_plan(scenario(entry("a", case(**arguments)), name=name), inventory())  # type: ignore[arg-type]
    assert plan is not None, findings
    return plan


def test_the_manifest_names_every_file_with_its_sum(bundle: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    jsonschema.validate(manifest, dict(load("manifest")))
    files = content(bundle)
    del files["manifest.json"]
    assert manifest["files"] == {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}


def test_the_plan_fits_its_schema_and_reads_back(bundle: Path) -> None:
    data = json.loads((bundle / "plan.json").read_text())
    jsonschema.validate(data, dict(load("plan")))
    assert json.loads(json.dumps(Plan.from_json(data).to_json())) == data


def test_the_roles_are_copied_without_caches_and_tests(bundle: Path) -> None:
    names = {name for name in content(bundle) if name.startswith("roles/")}
    assert "roles/deepep_run/lookup_plugins/deepep_whole_run.py" in names
    for name in names:
        assert "__pycache__" not in name
        assert "/tests/" not in name
        assert (resource("roles").parent / name).read_bytes() == (bundle / name).read_bytes()


def test_compiling_twice_gives_the_same_bytes(bundle: Path, tmp_path: Path) -> None:
    assert content(compile_to(tmp_path / "again")) == content(bundle)


def test_the_same_bytes_from_another_place(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(INPUT, tmp_path / "elsewhere" / "input")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert run(["compile", "input/scenario.toml", "-i", "input/inventory"]) == 0
    there = content(tmp_path / "elsewhere" / "build" / "golden")
    assert there == content(bundle)
    assert not [name for name, data in there.items() if str(tmp_path).encode() in data]


def test_an_older_bundle_is_replaced_and_what_is_the_users_stays(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    emit_bundle(small(tokens=8), inventory(), target)
    (target / "results" / "s_1").mkdir(parents=True)
    (target / "results" / "s_1" / "run.json").write_text("{}")
    (target / "inventory" / "secrets.yml").write_text("mine")
    (target / "runs" / "stale.yml").write_text("mine too")
    (target / "group_vars").symlink_to(tmp_path)
    (target / "roles" / "__pycache__").mkdir()
    (target / "roles" / "__pycache__" / "x.pyc").write_text("a cache")

    manifest = emit_bundle(small(tokens=9), inventory(), target)

    assert '"tokens": 9' in (target / "plan.json").read_text()
    assert (target / "results" / "s_1" / "run.json").read_text() == "{}"
    assert (target / "inventory" / "secrets.yml").read_text() == "mine"
    assert (target / "runs" / "stale.yml").read_text() == "mine too"
    assert (target / "group_vars").readlink() == tmp_path
    (target / "group_vars").unlink()
    assert not (target / "roles" / "__pycache__").exists()
    assert set(content(target)) == {
        *manifest.files, "manifest.json", "results/s_1/run.json", "inventory/secrets.yml", "runs/stale.yml",
    }  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_files_that_the_new_bundle_lacks_are_removed(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    two, _ = build_plan(scenario(entry("a"), entry("b")), inventory())
    assert two is not None
    emit_bundle(two, inventory(), target)
    assert (target / "runs" / "0002.yml").exists()
    emit_bundle(small(), inventory(), target)
    assert not (target / "runs" / "0002.yml").exists()


def test_the_same_bundle_is_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    emit_bundle(small(), inventory(), target)
    before = (target / "plan.json").stat()
    emit_bundle(small(), inventory(), target)
    assert (target / "plan.json").stat().st_ino == before.st_ino
    (target / "site.yml").write_text("damaged")
    emit_bundle(small(), inventory(), target)
    assert (target / "site.yml").read_text() != "damaged"


def test_a_bundle_that_is_being_played_is_not_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "bundle"
    emit_bundle(small(tokens=8), inventory(), target)
    with played(target):
        emit_bundle(small(tokens=8), inventory(), target)
        with pytest.raises(BundleInUseError):
            emit_bundle(small(tokens=9), inventory(), target)
        arguments = ["compile", str(INPUT / "scenario.toml"), "-i", str(INPUT / "inventory")]
        assert run([*arguments, "-o", str(target)]) == 1
        assert "wait for its end, or name another folder with -o" in capsys.readouterr().err
        assert '"tokens": 8' in (target / "plan.json").read_text()
    emit_bundle(small(tokens=9), inventory(), target)
    assert '"tokens": 9' in (target / "plan.json").read_text()


def test_sessions_go_on_while_the_bundle_they_began_with_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "bundle"
    emit_bundle(small(tokens=8), inventory(), target)
    # One that is resumed or stopped plays a bundle of its own, in here: nothing marks this one as played.
    session = target / "results" / "s_1"
    session.mkdir(parents=True)
    written: list[str] = []
    original = Path.rename

    def writes_meanwhile(path: Path, to: Path) -> Path:
        moved = original(path, to)
        written.append(f"{path.name}-{len(written)}")
        # Of paths that it knows, without making folders anew, and another session begins.
        (session / written[-1]).touch()
        (target / "results" / f"of-{written[-1]}").mkdir(parents=True)
        return moved

    monkeypatch.setattr(Path, "rename", writes_meanwhile)
    emit_bundle(small(tokens=9), inventory(), target)
    assert '"tokens": 9' in (target / "plan.json").read_text()
    assert written
    assert {path.name for path in session.iterdir()} == set(written)
    assert {path.name for path in session.parent.iterdir()} == {"s_1", *(f"of-{name}" for name in written)}


@pytest.mark.parametrize("kind", ["a folder", "a file", "another manifest"])
def test_what_is_not_a_bundle_is_not_touched(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "target"
    if kind == "a file":
        target.write_text("mine")
    else:
        target.mkdir()
        (target / ("manifest.json" if kind == "another manifest" else "mine")).write_text('{"files": {}}')
    before = content(tmp_path)
    with pytest.raises(ForeignFolderError) as refused:
        emit_bundle(small(), inventory(), target)
    assert refused.value.diagnostic().code == "DEP414"
    assert content(tmp_path) == before


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    emit_bundle(small(), inventory(), tmp_path / "target")
    assert (tmp_path / "target" / "site.yml").is_file()


def test_nothing_half_written_after_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "bundle"
    emit_bundle(small(tokens=8), inventory(), target)
    (target / "results").mkdir()
    (target / "results" / "x").write_text("x")
    before = content(tmp_path)

    def fails(path: Path, to: Path) -> Path:
        raise OSError(28, "No space left on device")

    original = Path.rename

    def fails_in_the_middle(path: Path, to: Path) -> Path:
        return fails(path, to) if path.parts[-2:] == ("new", "roles") else original(path, to)

    for name, stand_in in (("rename", fails_in_the_middle), ("replace", fails)):
        with monkeypatch.context() as patched:
            patched.setattr(Path, name, stand_in)
            with pytest.raises(OSError, match="No space"):
                emit_bundle(small(tokens=9), inventory(), target)
        assert content(tmp_path) == before


def test_compile_refuses_a_foreign_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").write_text("")
    arguments = ["compile", str(INPUT / "scenario.toml"), "-i", str(INPUT / "inventory"), "-o", str(tmp_path)]
    assert run(arguments) == 1
    assert "DEP414" in capsys.readouterr().err
    assert list(content(tmp_path)) == ["mine"]


def test_many_runs_share_playbooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compiler.emit.playbooks._MOST_FILES", 3)
    plan, _ = build_plan(scenario(*(entry(f"e{number}") for number in range(7))), inventory())
    assert plan is not None
    emit_bundle(plan, inventory(), tmp_path / "b")
    names = sorted(path.name for path in (tmp_path / "b" / "runs").iterdir())
    assert names == ["0001.yml", "0002.yml", "0003.yml"]
    text = "".join((tmp_path / "b" / "runs" / name).read_text() for name in names)
    assert [line.split('"')[1] for line in text.splitlines() if "deepep_run_key" in line] == [
        f"e{number}/0" for number in range(7)
    ]
