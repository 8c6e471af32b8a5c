"""The copy of a bundle that a session keeps for those who stop, watch or collect it later."""

from __future__ import annotations

from pathlib import Path

from compiler.resources import host_code
from tests.emit.bundles import content
from tests.host.bundles import Bundle, compile_for_one_host, stand_in_run

host_code()

from deepep_host.own_bundle import keep_bundle, own_bundle, session_of  # noqa: E402
from deepep_host.secret_scan import scan  # noqa: E402


def kept(folder: Path, bundle: Bundle) -> Path:
    """Returns the own bundle of a session that was begun with ``bundle``."""
    keep_bundle(bundle.folder, folder / "session")
    return own_bundle(folder / "session")


def test_it_stays_as_it_was_when_the_scenario_is_compiled_anew(tmp_path: Path) -> None:
    bundle = Bundle(tmp_path, [stand_in_run("run", ["say=x"])])
    before = content(bundle.folder)
    own = kept(tmp_path, bundle)
    compile_for_one_host(tmp_path)
    assert content(own) == before
    keep_bundle(own, tmp_path / "session")
    assert content(own) == before


def test_what_a_user_added_is_linked_and_never_copied(tmp_path: Path) -> None:
    bundle = Bundle(tmp_path, [stand_in_run("run", ["say=x"])])
    for name in (
        "group_vars/all.yml",
        "inventory/host_vars/local-1.yml",
        "inventory/more.yml",
        "results/s/x",
    ):
        (bundle.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (bundle.folder / name).write_text("password: hunter2")
    own = kept(tmp_path, bundle)
    links = {str(path.relative_to(own)) for path in own.rglob("*") if path.is_symlink()}
    assert links == {"group_vars", "inventory/host_vars", "inventory/more.yml"}
    assert (own / "inventory/more.yml").read_text() == "password: hunter2"


def test_secrets_are_removed_from_what_users_wrote_and_the_roles_stay(tmp_path: Path) -> None:
    own = kept(tmp_path, Bundle(tmp_path, [stand_in_run("run", ["say=hunter2"])]))
    roles = content(own / "roles")
    # Both are in the roles too.
    found = scan(tmp_path / "session", {"r": [("u", "hunter2"), ("u", "import")]})
    assert content(own / "roles") == roles
    assert "hunter2" not in (own / "plan.json").read_text()
    assert ".state/bundles/whole/plan.json" in {hit["file"] for hit in found["hits"]}


def test_a_session_is_known_by_its_own_bundle(tmp_path: Path) -> None:
    assert session_of(own_bundle(tmp_path)) == tmp_path
    assert session_of(tmp_path / "build" / "s") is None
    assert session_of(Path("/")) is None
