"""The judge, which is host code: the one place where the report imports it."""

from __future__ import annotations

from compiler.resources import host_code

host_code()

from deepep_host.files import write_text  # noqa: E402
from deepep_host.judge import NotAResultTreeError, judge_session, render_table  # noqa: E402
from deepep_host.judge.codes import CODES, VERDICTS  # noqa: E402
from deepep_host.judge.evidence import list_files  # noqa: E402
from deepep_host.judge.session import read_plan, write_manifest  # noqa: E402
from deepep_host.judge.units import bandwidth, duration  # noqa: E402

__all__ = [
    "CODES",
    "VERDICTS",
    "NotAResultTreeError",
    "bandwidth",
    "duration",
    "judge_session",
    "list_files",
    "read_plan",
    "render_table",
    "write_manifest",
    "write_text",
]
