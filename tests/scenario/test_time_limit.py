from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.scenario.time_limit import LONGEST_S, Refused, clock, parse_time_limit


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30", 1800),
        ("00:30:00", 1800),
        ("48:00:00", 172800),
        ("1-12", 129600),
        ("1-12:30", 131400),
        ("1-12:30:05", 131405),
        ("90s", 90),
        ("45m", 2700),
        ("2h", 7200),
        ("1d", 86400),
        ("1w", 604800),
    ],
)
def test_forms(text: str, seconds: int) -> None:
    assert parse_time_limit(text) == seconds


def test_two_numbers_are_ambiguous() -> None:
    refused = parse_time_limit("12:30")
    assert isinstance(refused, Refused)
    assert refused.readings == (("Slurm", 750), ("CloudAI", 45000))
    assert "Slurm reads 12 minutes 30 seconds, CloudAI 12 hours 30 minutes" in refused.reason
    assert '"00:12:30"' in refused.fix
    assert '"12:30:00"' in refused.fix


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("00:99:99", '"01:40:39"'),
        ("1-25", '"2-01:00:00"'),
        ("2h30m", '"02:30:00"'),
        ("1 day 2 hours", '"1-02:00:00"'),
        ("30M", '"30m"'),
        (" 00:30:00", '"00:30:00"'),
        ("UNLIMITED", "deadline"),
        ("half an hour", "HH:MM:SS"),
        ("00:00", "at least one second"),
        ("0", "at least one second"),
        ("53w", "shorter"),
        ("10:75", "HH:MM:SS"),
        ("٣٠", "HH:MM:SS"),
        ("1" * 5000, "HH:MM:SS"),
        ("00:30:00\n", '"00:30:00"'),
        ("-5", "HH:MM:SS"),
        ("1:2:3:4", "HH:MM:SS"),
    ],
)
def test_refusals_say_what_to_write(text: str, fix: str) -> None:
    refused = parse_time_limit(text)
    assert isinstance(refused, Refused)
    assert fix in refused.fix


@settings(deadline=None)
@given(st.integers(1, LONGEST_S))
def test_what_is_suggested_is_understood(seconds: int) -> None:
    assert parse_time_limit(clock(seconds)) == seconds


@settings(deadline=None)
@given(st.text(alphabet="0123456789:-smhdw \n", max_size=12))
def test_any_text_has_an_answer(text: str) -> None:
    found = parse_time_limit(text)
    assert isinstance(found, Refused) or 0 < found <= LONGEST_S
