"""The benchmark program: dispatch and combine of a mixture-of-experts layer, checked and timed.

One process per rank, started by torchrun; driven by ``config.yaml``. Needs Python 3.8, torch 2.1 and
nothing else. Data flows one way: config -> routing and tokens -> mode (dispatch, combine) on a backend ->
checks against the reference -> timing -> report.
"""

RECORD_SCHEMA = 2
