"""Statistical comparison of two result trees, and what the spread over ranks, hosts and links says.

``tree`` reads, ``pairing`` finds what may be compared, ``inference`` holds the statistics, ``judge`` puts
them together into a :class:`compiler.compare.model.Comparison`, ``render_text`` and ``render_json`` show it.
``spread`` stands alone: pure functions on the records of one run. Nothing is imported here, since the
statistics library loads slowly.
"""
