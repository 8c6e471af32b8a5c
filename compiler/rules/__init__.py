"""Checks across keys and files: one idea per module, all of them listed in :mod:`compiler.rules.table`.

What one value may be stands in ``schemas/``. A rule is a function that yields diagnostics; its code, wording
and severity stand in :mod:`compiler.diagnostics.codes`. Limits of the DeepEP kernels, which need hosts and
ranks, live in :mod:`compiler.rules.kernels`.
"""
