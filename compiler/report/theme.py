"""Colours of the page, in one place: its style sheet and its plots read them from here.

Series and verdicts take the Okabe-Ito palette, which readers without full colour vision can tell apart;
nothing is said by colour alone. Text keeps a contrast of at least 4.5 to its background.
"""

from __future__ import annotations

LIGHT = {
    "page": "#f7f7f5",
    "card": "#ffffff",
    "text": "#1c2024",
    "muted": "#5b636b",
    "line": "#dcdfe2",
    "edge": "#7d868e",
    "soft": "#f0f1ef",
    "link": "#00588f",
    "mark": "#fff1c2",
    "series0": "#0072b2",
    "series1": "#e69f00",
    "series2": "#009e73",
    "pass": "#006b4e",
    "pass_soft": "#e2f3ec",
    "fail": "#a83f00",
    "fail_soft": "#fdebe0",
    "timeout": "#7d5600",
    "timeout_soft": "#fcf1d6",
    "invalid": "#8d3f6d",
    "invalid_soft": "#f8e9f1",
    "unverified": "#00588f",
    "unverified_soft": "#e3f0f8",
    "not_run": "#4c545b",
    "not_run_soft": "#eaecee",
}

DARK = {
    "page": "#14171a",
    "card": "#1c2024",
    "text": "#e6e8ea",
    "muted": "#9ca5ad",
    "line": "#343a40",
    "edge": "#7d868e",
    "soft": "#252a2f",
    "link": "#7cc3f0",
    "mark": "#4a3d10",
    "series0": "#56b4e9",
    "series1": "#e69f00",
    "series2": "#2cc295",
    "pass": "#5fd3ae",
    "pass_soft": "#15332a",
    "fail": "#ff9d66",
    "fail_soft": "#3d2114",
    "timeout": "#f0c35a",
    "timeout_soft": "#372c10",
    "invalid": "#e6a3c7",
    "invalid_soft": "#3a2130",
    "unverified": "#7cc3f0",
    "unverified_soft": "#132c3d",
    "not_run": "#b4bcc3",
    "not_run_soft": "#2b3035",
}
