"""The search for secrets: every form is found, removed, and told; nothing else is touched."""

from __future__ import annotations

import base64
import gzip
import json
import random
import urllib.parse
from pathlib import Path

import pytest
from deepep_host import secret_scan

SECRET = "pa+ss/w:ord=1 &%"  # noqa: S105 - made up
USER = "bench"


def planted(secret: str = SECRET) -> dict[str, bytes]:
    pair = base64.b64encode(f"{USER}:{secret}".encode())
    return {
        "plain.txt": f"password {secret}\n".encode(),
        "json.json": json.dumps({"p": secret}).encode(),
        "url.txt": b"https://x?t=" + urllib.parse.quote(secret, safe="").encode(),
        "plus.txt": b"t=" + urllib.parse.quote_plus(secret).encode(),
        "header.txt": b"Authorization: Basic " + pair,
        "inner.txt": base64.b64encode(f'{{"a": "{secret}", "b": 1}}'.encode()),
        "urlsafe.txt": base64.urlsafe_b64encode(b"?" + secret.encode() + b"?"),
        "hex.txt": secret.encode().hex().encode(),
        "deep/er/binary.bin": b"\0\xff" + secret.encode() + b"\0",
    }


def test_every_form_is_found_and_removed(tmp_path: Path) -> None:
    files = planted()
    for name, data in {**files, "clean.txt": b"nothing here"}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    (tmp_path / "trace.json.gz").write_bytes(gzip.compress(b"x" * 1000 + SECRET.encode()))
    done = secret_scan.scan(tmp_path, {"reg.example": [(USER, SECRET)]})
    assert {hit["file"] for hit in done["hits"]} == {*files, "trace.json.gz"}
    assert {hit["registry"] for hit in done["hits"]} == {"reg.example"}
    assert done["searched"] == len(files) + 2
    assert SECRET.encode() not in gzip.decompress((tmp_path / "trace.json.gz").read_bytes())
    assert (tmp_path / "clean.txt").read_bytes() == b"nothing here"
    assert SECRET not in json.dumps(done)
    assert secret_scan.scan(tmp_path, {"reg.example": [(USER, SECRET)]})["hits"] == []


@pytest.mark.parametrize("seed", range(30))
def test_base64_of_any_text_around_it(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - test data
    secret = "".join(chance.choice("abcDEF0123+/-_$") for _ in range(chance.randint(8, 40)))
    before, after = chance.randbytes(chance.randint(0, 7)), chance.randbytes(chance.randint(0, 7))
    (tmp_path / "x").write_bytes(base64.b64encode(before + secret.encode() + after))
    assert secret_scan.scan(tmp_path, {"r": [("u", secret)]})["hits"]


def test_a_secret_on_the_border_of_what_is_read_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secret_scan, "_CHUNK", 64)
    for start in range(40, 70):
        (tmp_path / f"{start}").write_bytes(b"." * start + SECRET.encode() + b"." * 100)
    assert len(secret_scan.scan(tmp_path, {"r": [("u", SECRET)]})["hits"]) == 30


def test_what_cannot_be_searched_for_is_told(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("abc")
    done = secret_scan.scan(tmp_path, {"r": [("u", "abc")]})
    assert done["hits"] == []
    assert done["not_searched"] == ["the secret of r is too short to be searched for"]
    (tmp_path / "cut.gz").write_bytes(gzip.compress(SECRET.encode() + bytes(range(256)) * 9)[:-9])
    (tmp_path / "no.gz").write_bytes(SECRET.encode())
    assert {hit["file"] for hit in secret_scan.scan(tmp_path, {"r": [("u", SECRET)]})["hits"]} == {
        "no.gz",
        "cut.gz",
    }
