"""The summary as JUnit XML, for continuous integration: one case per run and operation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring  # nosec B405

from .codes import CODES, FAIL, INVALID, NOT_RUN, PASS, TIMEOUT, UNVERIFIED
from .figures import AS_TESTED, as_tested, is_primary

ERRORS = ("host-lost", "start-failed", "state-missing", "state-unreadable", "still-running", "judge-error")
"""Causes that lie with the hosts or the tree, not with the benchmark: JUnit's errors instead of failures."""

_FIGURES = ("global_bw", "deepep_time")


def render_junit(summary: Mapping[str, Any]) -> str:
    """Returns the summary as JUnit XML.

    PASS is a case without a child; FAIL, TIMEOUT and INVALID are failures, or errors where hosts or tree are
    at fault; UNVERIFIED and runs whose dependency did not pass are skipped; a run that never started for any
    other reason is an error, since a skipped case would leave the pipeline green without data.
    """
    cases = [case for run in summary["runs"] for case in _cases(run)]
    counts = {
        "tests": str(len(cases)),
        "failures": str(sum(case.find("failure") is not None for case in cases)),
        "errors": str(sum(case.find("error") is not None for case in cases)),
        "skipped": str(sum(case.find("skipped") is not None for case in cases)),
        "time": f"{sum(run['duration_s'] or 0 for run in summary['runs']):.3f}",
    }
    name = _text(summary["scenario"])
    root = Element("testsuites", {"name": name, **counts})
    suite = SubElement(root, "testsuite", {"name": name, **counts})
    if isinstance(summary["started_at"], str):
        suite.set("timestamp", _text(summary["started_at"]))
    suite.extend(cases)
    if not cases:
        error = SubElement(SubElement(suite, "testcase", {"classname": name, "name": "scenario"}), "error")
        error.set("message", "the scenario has no runs: no data is never a pass")
    return '<?xml version="1.0" encoding="utf-8"?>\n' + tostring(root, encoding="unicode") + "\n"


def _cases(run: Mapping[str, Any]) -> list[Element]:
    figures = [record for record in run["operations"] if record["operation"] and is_primary(record)]
    records = {str(record["operation"]): record for record in figures}
    names = list(dict.fromkeys([*run["expected_operations"], *records])) or ["run"]
    return [_case(run, name, records.get(name, {})) for name in names]


def _case(run: Mapping[str, Any], operation: str, record: Mapping[str, Any]) -> Element:
    case = Element("testcase", {"classname": _text(run["run"]), "name": _text(operation)})
    case.set("time", f"{record.get('total_time') or 0:.6f}")
    child = _child(run)
    if child is not None:
        reasons = run["reasons"]
        element = SubElement(case, child)
        element.set("message", _text(reasons[0]["text"]))
        element.set("type", f"{run['verdict']}:{reasons[0]['code']}")
        element.text = _text("\n".join(_line(entry) for entry in reasons))
    properties = [("verdict", run["verdict"]), ("backend", record.get("backend") or run["backend"])]
    properties += [(key, record[key]) for key in _FIGURES if record.get(key) is not None]
    tested = as_tested(record, run["operations"]) if record else record
    properties += [(key, tested[key]) for key in AS_TESTED if tested.get(key) is not None]
    if tested is not record:
        properties.append(("simple_bw_of", tested.get("variant")))
    if run["stand_in"]:
        properties.append(("stand_in", "a CPU stand-in: not DeepEP's figures"))
    holder = SubElement(case, "properties")
    for key, value in properties:
        SubElement(holder, "property", {"name": key, "value": _text(str(value))})
    case[:] = [holder, *(element for element in case if element is not holder)]
    return case


def _child(run: Mapping[str, Any]) -> str | None:
    verdict = run["verdict"]
    code = run["reasons"][0]["code"] if run["reasons"] else ""
    if verdict == PASS:
        return None
    if verdict == UNVERIFIED or code == "dependency-not-passed":
        return "skipped"
    if verdict == NOT_RUN or code in ERRORS:
        return "error"
    if verdict not in (FAIL, TIMEOUT, INVALID):
        raise ValueError(f"unknown verdict {verdict!r}")
    return "failure"


def _line(entry: Mapping[str, Any]) -> str:
    where = f" [{entry['file']}{':' + str(entry['line']) if entry['line'] else ''}]" if entry["file"] else ""
    mark = "  follows: " if entry["consequence"] else ""
    return f"{mark}{entry['text']} ({entry['code']}: {CODES[entry['code']].title}){where}"


def _text(text: str) -> str:
    """Returns ``text`` without the characters that XML 1.0 cannot hold."""
    return "".join(c for c in text if c in "\t\n\r" or 0x20 <= ord(c) <= 0xD7FF or 0xE000 <= ord(c) <= 0xFFFD
                   or ord(c) >= 0x10000)  # fmt: skip
