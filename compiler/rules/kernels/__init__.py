"""What DeepEP's kernels demand of a run, proven before anything starts.

* ``limits.toml``: the demands as data, with source line and DeepEP release;
* ``elsewhere.toml``: DeepEP's demands that no scenario of this format can break, with the reason;
* ``registry.py``: the one table of rules: code, slug, what a rule applies to, its check and its examples;
* ``ranks.py``, ``standard.py``, ``low_latency.py``, ``elastic.py``, ``environment.py`` and ``general.py``:
  the checks.

To add a rule: a table in ``limits.toml``, a function beside its kin, a line in ``registry.py``; then
``make docs``. The tests demand a good and a bad example and run both.
"""

from __future__ import annotations

from compiler.rules.kernels.check import Finding, check_kernels, check_run
from compiler.rules.kernels.model import RunFacts

__all__ = ["Finding", "RunFacts", "check_kernels", "check_run"]
