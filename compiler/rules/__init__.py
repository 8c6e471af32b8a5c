"""Checks across keys and files: one idea per module, all of them listed in :mod:`compiler.rules.table`.

What one value may be stands in ``schemas/``. A rule is a function that yields diagnostics; its code, wording
and severity stand in :mod:`compiler.diagnostics.codes`. Limits that depend on hosts and ranks are
:data:`compiler.rules.model.PlacedRule` and get :class:`compiler.rules.model.Facts`.
"""
