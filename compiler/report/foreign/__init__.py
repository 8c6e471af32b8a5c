"""Reads results that other tools left: trees of CloudAI's benchmarks, and what DeepEP's own tests print.

``cloudai`` and ``deepep_tests`` read, ``model`` holds what they found, ``imported`` copies it into a
directory of its own with summary and page. Nothing of it can be verified: UNVERIFIED at best.
"""
