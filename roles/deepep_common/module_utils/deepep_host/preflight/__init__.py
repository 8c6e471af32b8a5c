"""Whether hosts can take part: read-only checks, each with its way out (``docs/preflight.md``).

On the host :func:`examine` asks the checks of :mod:`.catalogue`; on the controller :mod:`.across` compares
hosts, and :mod:`.refusal` says which runs may not start.
"""

from .across import compare
from .examine import examine
from .model import FAIL, PASS, UNKNOWN, WARN, entry, worst
from .needs import needs_of, needs_rdma
from .refusal import refusal
from .table import findings, summary, table, where

__all__ = [
    "FAIL", "PASS", "UNKNOWN", "WARN", "compare", "entry", "examine", "findings", "needs_of", "needs_rdma",
    "refusal", "summary", "table", "where", "worst",
]  # fmt: skip
