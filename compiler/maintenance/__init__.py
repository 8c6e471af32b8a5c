"""Writes the generated reference pages under ``docs/``."""
