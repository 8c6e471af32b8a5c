"""What goes to a host is the program alone, whatever Python writes beside it meanwhile."""

from __future__ import annotations

import base64
import io
import json
import shutil
import tarfile
from pathlib import Path

from compiler.resources import host_code, resource

host_code()

from deepep_host.program import pack_program  # noqa: E402
from deepep_host.slurm.jobs import Place, payload  # noqa: E402

HALF_WRITTEN = "__pycache__/control.cpython-311.pyc.140213507411248"


def half_write(folder: Path) -> None:
    """Leaves what Python's import system has there until it renames it."""
    (folder / HALF_WRITTEN).parent.mkdir(exist_ok=True)
    (folder / HALF_WRITTEN).touch()


def test_the_program_is_the_same_while_python_caches_its_modules(tmp_path: Path) -> None:
    roles = tmp_path / "roles"
    shutil.copytree(resource("roles"), roles, ignore=shutil.ignore_patterns("__pycache__"))
    before = pack_program(roles)
    half_write(roles / "deepep_common" / "module_utils" / "deepep_host")
    half_write(roles / "deepep_run" / "files" / "deepep_bench")
    assert pack_program(roles) == before


def test_a_jobs_script_carries_no_cache(tmp_path: Path) -> None:
    place = Place(tmp_path, "20260101_000000-aaaaaa", "login")
    (place.own / "program").mkdir(parents=True)
    (place.own / "program" / "verb.py").touch()
    half_write(place.own / "program")
    (place.own / "plan.json").write_text(json.dumps({"runs": []}))
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(payload(place, "a/0")))) as archive:
        assert archive.getnames() == ["verb.py", "plan.json"]
