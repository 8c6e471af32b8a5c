"""Editors understand the schemas: tombi, a language server, checks, explains and completes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPO

TOMBI = Path(sys.executable).with_name("tombi")


class Server:
    """A language server, spoken to over its standard input and output."""

    def __init__(self, root: Path) -> None:
        self._process = subprocess.Popen(
            [TOMBI, "lsp", "--offline"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._number = 0
        markdown = {"completionItem": {"documentationFormat": ["markdown"]}}
        capabilities = {"textDocument": {"completion": markdown, "hover": {"contentFormat": ["markdown"]}}}
        self.ask("initialize", {"processId": None, "rootUri": root.as_uri(), "capabilities": capabilities})
        self.tell("initialized", {})

    def tell(self, method: str, parameters: object, **more: object) -> None:
        body = json.dumps({"jsonrpc": "2.0", "method": method, "params": parameters, **more}).encode()
        assert self._process.stdin is not None
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self._process.stdin.flush()

    def _message(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        length = 0
        while line := self._process.stdout.readline().strip():
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        message: dict[str, Any] = json.loads(self._process.stdout.read(length))
        return message

    def _answer_requests(self, message: dict[str, Any]) -> None:
        if "method" in message and "id" in message:
            body = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": None}).encode()
            assert self._process.stdin is not None
            self._process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
            self._process.stdin.flush()

    def ask(self, method: str, parameters: object) -> Any:
        self._number += 1
        self.tell(method, parameters, id=self._number)
        while True:
            message = self._message()
            self._answer_requests(message)
            if message.get("id") == self._number and "method" not in message:
                return message["result"]

    def open(self, path: Path, text: str) -> None:
        """Opens a file and waits until the server has checked it."""
        path.write_text(text, encoding="utf-8")
        document = {"uri": path.as_uri(), "languageId": "toml", "version": 1, "text": text}
        self.tell("textDocument/didOpen", {"textDocument": document})
        while True:
            message = self._message()
            self._answer_requests(message)
            published = message.get("method") == "textDocument/publishDiagnostics"
            if published and message["params"]["uri"] == path.as_uri():
                return

    def at(self, method: str, path: Path, line: int, character: int) -> Any:
        position = {"line": line, "character": character}
        return self.ask(
            f"textDocument/{method}", {"textDocument": {"uri": path.as_uri()}, "position": position}
        )

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("examples", "schemas"):
        shutil.copytree(REPO / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def server(project: Path) -> Iterator[Server]:
    started = Server(project)
    yield started
    started.close()


def lint(folder: Path, *paths: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [TOMBI, "lint", "--offline", *paths], cwd=folder, capture_output=True, text=True, check=False
    )


def test_the_examples_name_their_schemas_and_fit_them(project: Path) -> None:
    done = lint(project, "examples")
    assert done.returncode == 0
    assert "Warning" not in done.stdout + done.stderr


def test_a_wrong_key_and_a_wrong_value_are_marked(project: Path) -> None:
    path = project / "examples/deepep-benchmark/tests/deepep_standard.toml"
    text = path.read_text(encoding="utf-8").replace("tokens =", "tokns =").replace('"standard"', '"standrd"')
    path.write_text(text, encoding="utf-8")
    done = lint(project, str(path))
    assert done.returncode == 1
    assert '"tokns" is not allowed' in done.stdout + done.stderr
    assert 'must be one of ["standard", "low_latency"]' in done.stdout + done.stderr


def test_completion_and_hover(project: Path, server: Server) -> None:
    folder = project / "examples/deepep-benchmark/tests"
    text = (folder / "deepep_standard.toml").read_text(encoding="utf-8")
    lines = text.split("\n")
    server.open(folder / "a.toml", text)
    number = next(index for index, line in enumerate(lines) if line.startswith("tokens"))
    hover = server.at("hover", folder / "a.toml", number, 2)["contents"]["value"]
    assert "Number of tokens that every rank dispatches in one iteration." in hover
    assert "Default: `1024`" in hover
    more = f"{text}\nn"
    server.open(folder / "b.toml", more)
    items = server.at("completion", folder / "b.toml", more.count("\n"), 1)
    labels = [item["label"] for item in (items["items"] if isinstance(items, dict) else items)]
    assert "num_sms" in labels
    empty = text.replace('mode = "standard"', "mode = ")
    server.open(folder / "c.toml", empty)
    number = next(index for index, line in enumerate(empty.split("\n")) if line.startswith("mode"))
    items = server.at("completion", folder / "c.toml", number, 7)
    labels = [item["label"] for item in (items["items"] if isinstance(items, dict) else items)]
    assert {'"standard"', '"low_latency"'} <= set(labels)
