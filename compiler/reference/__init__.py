"""Reference values: ``load`` reads and checks them, ``accept`` writes them from a run.

Whether a figure is outside is decided by host code (``deepep_host.judge.reference``), so that a bundle judges
the same.
"""
