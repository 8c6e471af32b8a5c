"""Rules about DeepEP's kernels."""
