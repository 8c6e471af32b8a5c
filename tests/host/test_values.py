"""Strings on their way to a process: unchanged, never run, never out of their directory."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.resources import host_code

host_code()

from deepep_host import rendezvous  # noqa: E402
from deepep_host.assemble import distribute  # noqa: E402
from deepep_host.launch import LaunchError, expand_argv, expand_environment, render_config, render_env_vars  # noqa: E402
from deepep_host.state import WorkDirError, ensure_work_dir  # noqa: E402
from deepep_host.toml_writer import dumps  # noqa: E402

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
NASTY = "a'b\"c\\d $(touch x) `id` {{ 7*7 }} {% raw %} \n\r\t é漢😀 #!; && | > *"


def test_only_plain_names_are_expanded_and_everything_else_stays_text() -> None:
    env = {"A": "x", "B": "$A-${A}-$BASE-$MISSING", "C": "$(id) `id` $1 ${} ${A:-y} $$ \\$A"}
    values, unset = expand_environment(env, {"BASE": "host"})
    assert values["B"] == "x-x-host-"
    assert values["C"] == "$(id) `id` $1 ${} ${A:-y} $$ \\x"
    assert unset == ["MISSING"]


def test_a_variable_may_extend_what_the_host_has() -> None:
    assert expand_environment({"PATH": "/opt/bin:$PATH"}, {"PATH": "/bin"})[0] == {"PATH": "/opt/bin:/bin"}


@given(
    st.dictionaries(
        st.from_regex(r"[A-Z_]{1,8}", fullmatch=True), TEXT.filter(lambda t: "$" not in t), max_size=4
    )
)
def test_every_value_reaches_the_environment_unchanged(env: dict[str, str]) -> None:
    assert expand_environment(env, {})[0] == env


def test_env_vars_sh_gives_a_shell_the_same_values(tmp_path: Path) -> None:
    env = {"NASTY": NASTY, "LONG": "x" * 10_000, "EMPTY": ""}
    (tmp_path / "env_vars.sh").write_text(render_env_vars(env), encoding="utf-8", newline="")
    script = f". {shlex.quote(str(tmp_path / 'env_vars.sh'))}; exec env -0"
    shown = subprocess.run(["/bin/sh", "-c", script], capture_output=True, cwd=tmp_path, check=True).stdout
    got = dict(entry.split("=", 1) for entry in shown.decode().split("\0") if entry)
    assert {name: got[name] for name in env} == env
    assert sorted(path.name for path in tmp_path.iterdir()) == ["env_vars.sh"]


@given(
    st.dictionaries(
        st.from_regex(r"[a-z_]{1,8}", fullmatch=True), TEXT | st.integers() | st.booleans(), max_size=4
    )
)
def test_each_line_of_config_yaml_is_a_key_and_a_json_scalar(config: dict[str, object]) -> None:
    lines = render_config(config).split("\n")[:-1]
    assert {line.split(": ", 1)[0]: json.loads(line.split(": ", 1)[1]) for line in lines} == config


def test_arguments_are_joined_from_texts_and_variables() -> None:
    argv = [{"join": [{"var": "python"}]}, NASTY, {"join": ["--rank=", {"var": "node_rank"}]}]
    assert expand_argv(argv, {"python": "/p", "node_rank": "1"}) == ["/p", NASTY, "--rank=1"]


@pytest.mark.parametrize("argument", [{"var": "nothing"}, {"other": 1}, "nul\0"])
def test_an_argument_that_cannot_be_is_refused(argument: object) -> None:
    with pytest.raises(LaunchError):
        expand_argv([argument], {})


VALUES = st.recursive(
    TEXT | st.integers(-(2**63), 2**63 - 1) | st.booleans() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(TEXT, VALUES, max_size=4))
def test_what_the_toml_writer_writes_reads_back_the_same(document: dict[str, object]) -> None:
    assert tomllib.loads(dumps(document)) == document


def test_the_toml_writer_leaves_out_none_and_refuses_what_toml_lacks() -> None:
    assert dumps({"a": None, "b": [1, None], "c": {"d": None}}) == "b = [1]\n\n[c]\n"
    with pytest.raises(TypeError):
        dumps({"a": object()})


def test_files_of_a_host_go_where_the_result_tree_has_them(tmp_path: Path) -> None:
    run = tmp_path / "run"
    for host in ("n1", "n2"):
        names = ["state.json", "logs/stdout.txt", "metadata.toml", "config.yaml", "results/b/results.json",
                 f"ranks/{host}.json", "core", "launch.json"]  # fmt: skip
        for name in names:
            (tmp_path / host / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / host / name).write_text(host)
        distribute(tmp_path / host, names, run, host, host == "n1")
    found = {str(path.relative_to(run)): path.read_text() for path in run.rglob("*") if path.is_file()}
    assert found == {
        "logs/n1.state.json": "n1", "logs/n2.state.json": "n2", "logs/n1.stdout.txt": "n1",
        "logs/n2.stdout.txt": "n2", "metadata/node-n1.toml": "n1", "metadata/node-n2.toml": "n2",
        "config.yaml": "n1", "logs/n2.config.yaml": "n2", "results/b/results.json": "n1",
        "files/n2/results/b/results.json": "n2", "ranks/n1.json": "n1", "ranks/n2.json": "n2",
        "files/n1/core": "n1", "files/n2/core": "n2",
    }  # fmt: skip


def test_the_port_is_free_new_and_not_one_the_kernel_gives_away() -> None:
    low, high = rendezvous.ephemeral_range()
    ports: list[int] = []
    for _ in range(5):
        port = rendezvous.free_port(ports)
        assert port not in ports
        assert not low <= port <= high
        ports.append(port)


def test_a_port_that_is_in_use_is_not_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert not rendezvous.is_free(server.getsockname()[1])


def test_a_kernel_that_gives_away_all_ports_still_leaves_some_to_choose_from() -> None:
    assert rendezvous.candidates((1024, 65535))


def test_the_address_comes_from_the_interface_then_one_machine_then_ssh(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert rendezvous.master_address("lo", False) == "127.0.0.1"
    assert rendezvous.master_address(None, True) == "127.0.0.1"
    assert rendezvous.ssh_address([{}, {"SSH_CONNECTION": "10.0.0.1 5 10.0.0.2 22"}]) == "10.0.0.2"
    with pytest.raises(rendezvous.RendezvousError, match=r"this host has .*\blo\b"):
        rendezvous.master_address("nothere0", False)


def test_how_we_got_here_is_known_below_a_program_that_hides_it_as_sudo_does() -> None:
    child = "from deepep_host import rendezvous; print(rendezvous.ssh_address())"
    utils = str(Path(rendezvous.__file__).parents[1])
    hides = f"env -u SSH_CONNECTION {sys.executable} -c '{child}'; true"
    environment = {**os.environ, "PYTHONPATH": utils, "SSH_CONNECTION": "10.0.0.1 5 10.0.0.2 22"}
    done = subprocess.run(["sh", "-c", hides], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "10.0.0.2\n"


def test_a_work_directory_that_is_a_link_or_another_users_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(WorkDirError, match="link"):
        ensure_work_dir(tmp_path / "link")
    ensure_work_dir(tmp_path / "real")
    assert (tmp_path / "real").stat().st_mode & 0o777 == 0o700
