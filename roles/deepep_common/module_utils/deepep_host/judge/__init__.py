"""Verdicts from a result tree alone: standard library only, so that a bundle judges where only Ansible is.

``judge_run`` judges one run directory against its plan, ``judge_session`` a whole result tree, and
``render_table`` shows a summary in a terminal. Fail-closed: what is not there is never a pass.
"""

from __future__ import annotations

from .codes import VERDICTS, Reason
from .run import judge_run
from .session import NotAResultTreeError, judge_session
from .table import render_table

__all__ = ["VERDICTS", "NotAResultTreeError", "Reason", "judge_run", "judge_session", "render_table"]
