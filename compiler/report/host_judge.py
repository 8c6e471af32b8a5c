"""Host code, above all the judge: the one place where the report imports it."""

from __future__ import annotations

from compiler.resources import host_code

host_code()

from deepep_host import preflight  # noqa: E402
from deepep_host.files import write_text  # noqa: E402
from deepep_host.judge import NotAResultTreeError, judge_session, render_table  # noqa: E402
from deepep_host.judge.choice import chosen  # noqa: E402
from deepep_host.judge.codes import CODES, VERDICTS, reason, verdict_of  # noqa: E402
from deepep_host.judge.evidence import list_files  # noqa: E402
from deepep_host.judge.figures import (  # noqa: E402
    AS_TESTED,
    BESIDE,
    as_tested,
    kernel_time,
    stands_for,
)
from deepep_host.judge.hardware import PREFLIGHT, read_hardware, with_gpu  # noqa: E402
from deepep_host.judge.junit import render_junit  # noqa: E402
from deepep_host.judge.limits import limits_of, ratio_to_limit  # noqa: E402
from deepep_host.judge.logs import scan_log  # noqa: E402
from deepep_host.judge.marks import kind_of, marks_of, notes_on_marks  # noqa: E402
from deepep_host.judge.records import headline  # noqa: E402
from deepep_host.judge.reference import compare_record  # noqa: E402
from deepep_host.judge.rows import write_rows  # noqa: E402
from deepep_host.judge.session import read_plan, write_manifest  # noqa: E402
from deepep_host.judge.summary_csv import render_csv  # noqa: E402
from deepep_host.judge.units import bandwidth, duration  # noqa: E402

__all__ = [
    "AS_TESTED",
    "BESIDE",
    "CODES",
    "PREFLIGHT",
    "VERDICTS",
    "NotAResultTreeError",
    "as_tested",
    "bandwidth",
    "chosen",
    "compare_record",
    "duration",
    "headline",
    "judge_session",
    "kernel_time",
    "kind_of",
    "limits_of",
    "list_files",
    "marks_of",
    "notes_on_marks",
    "preflight",
    "ratio_to_limit",
    "read_hardware",
    "read_plan",
    "reason",
    "render_csv",
    "render_junit",
    "render_table",
    "scan_log",
    "stands_for",
    "verdict_of",
    "with_gpu",
    "write_manifest",
    "write_rows",
    "write_text",
]
