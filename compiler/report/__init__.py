"""From a judged result tree to one HTML page.

``tree`` reads the tree into ``model``; ``plots`` draws from the model; ``page`` renders both through
``templates/``. Judging itself is host code (``deepep_host.judge``), so that a bundle judges without this.
"""
