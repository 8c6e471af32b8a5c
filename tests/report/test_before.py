"""How the hosts were before the runs, from preflight.json and selftest.json: page, Markdown, summary.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
from deepep_host import selftest
from deepep_host.preflight import FAIL, PASS, UNKNOWN, WARN, entry, worst

from compiler.report.write import write_reports
from tests.judge.tree import change_json, make_run, result_dir, write, write_tree
from tests.report.conftest import Open

SCHEMAS = Path(__file__).parents[2] / "schemas"
HOSTS = tuple(f"node{number}" for number in range(1, 7))


def _schema(name: str, value: object) -> None:
    jsonschema.validate(value, json.loads((SCHEMAS / f"{name}.schema.json").read_text()))


def _examined(top: Path, **checks: list[dict[str, Any]]) -> None:
    """Writes what the preflight leaves; ``checks`` of each host."""
    for host, found in checks.items():
        write(
            top / f"preflight/{host}.json",
            {"schema": 1, "host": host, "result": worst(found), "checks": found},
        )
    across = [{"hosts": list(checks), "runs": ["Tests.1/0"], "checks": [entry("same_driver", PASS, "580.1")]}]
    whole = {
        "schema": 1,
        "result": worst([one for found in checks.values() for one in found]),
        "hosts": {host: worst(found) for host, found in checks.items()},
        "across": across,
        "refused": {"Tests.2/0": "node2: gpu_xid: <Xid 79>"},
    }
    _schema("preflight", whole)
    write(top / "preflight.json", whole)


def _alone(top: Path, factors: dict[str, float]) -> None:
    """Writes self-tests of hosts whose times differ from each other's as ``factors`` say; 0: no result."""
    runs = [make_run(f"selftest.{host}/0", hosts=(host,)) for host in factors]
    write_tree(top, runs)
    for run, factor in zip(runs, factors.values(), strict=True):

        def change(records: list[dict[str, Any]], factor: float = factor) -> None:
            for record in records:
                record["deepep_time"] *= factor
                record["global_bw"] /= factor
                record["time_s"] = {
                    key: [one * factor for one in value] if isinstance(value, list) else value * factor
                    for key, value in record["time_s"].items()
                }

        results = top / run["id"] / result_dir(run) / "results.json"
        change_json(results, change) if factor else results.unlink()
    change_json(top / "plan.json", lambda plan: plan.update(selftest={h: f"selftest.{h}/0" for h in factors}))
    write_reports(top)
    found = selftest.compare(top, json.loads((top / "plan.json").read_text()))
    _schema("selftest", found)
    write(top / "selftest.json", found)


def _summary(top: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((top / "summary.json").read_text())
    _schema("summary", summary)
    found: dict[str, Any] = summary["report"]["hosts_before"]
    return found


def test_what_the_preflight_found_stands_on_the_page(tmp_path: Path, open_page: Open) -> None:
    write_tree(tmp_path, [make_run()])
    good = entry("python", PASS, "Python 3.11 at /usr/bin/python3")
    slow = entry("gpu_clocks", WARN, "GPU 3: 1200 MHz <b>", "nvidia-smi -rac")
    _examined(
        tmp_path,
        node1=[good, entry("gpu_xid", UNKNOWN, "dmesg cannot be read")],
        node2=[good, slow, entry("gpu_xid", FAIL, "Xid 79 on GPU 1", "reboot the host")],
    )
    write_reports(tmp_path)

    page = open_page(tmp_path / "deepep-benchmark.html")
    assert "Before the runs: the preflight found trouble with gpu_xid, gpu_clocks" in page.inner_text(
        ".notes"
    )
    section = page.inner_text("#before")
    assert "Preflight of 2 hosts: 1 pass, 1 fail; 1 check could not be made" in section
    rows = page.locator("#before tbody tr").all_inner_texts()
    assert [row.split("\t")[:3] for row in rows] == [
        ["gpu_xid", "fail", "node2"],
        ["gpu_clocks", "warn", "node2"],
        ["gpu_xid", "not checked", "node1"],
    ]
    assert "1200 MHz <b>" in rows[1] and "nvidia-smi -rac" in rows[1]
    assert "Tests.2/0 could not start: node2: gpu_xid: <Xid 79>" in section
    assert "Passed: python, same_driver" in section
    links = page.locator("#hosts a").evaluate_all("all => all.map(a => a.getAttribute('href'))")
    assert links == ["./preflight/node1.json", "./preflight/node2.json"]
    assert all((tmp_path / link).is_file() for link in links)

    found = _summary(tmp_path)
    assert [(one["check"], one["result"]) for one in found["preflight"]] == [
        ("gpu_xid", "fail"),
        ("gpu_clocks", "warn"),
    ]
    assert found["selftest"] is None
    assert "preflight, gpu\\_xid on node2: Xid 79 on GPU 1" in (tmp_path / "summary.md").read_text()


def test_what_was_found_after_the_table_counts(tmp_path: Path) -> None:
    write_tree(tmp_path, [make_run()])
    good = [entry("python", PASS, "Python 3.11")]
    _examined(tmp_path, node1=good, node2=good)
    bad = entry("image", FAIL, "reg/i:1: Python 3.12, no torchrun in its search path", "another image")
    later = {"schema": 1, "host": "node2", "result": FAIL, "checks": [*good, bad]}
    write(tmp_path / "preflight/node2.json", later)
    write_reports(tmp_path)
    assert [(one["check"], one["result"]) for one in _summary(tmp_path)["preflight"]] == [("image", "fail")]
    assert "Preflight of 2 hosts: 1 pass, 1 fail" in _section(tmp_path)


def _section(top: Path) -> str:
    return " ".join((top / "deepep-benchmark.html").read_text().split())


def test_a_host_that_is_slow_alone_stands_out(tmp_path: Path, open_page: Open) -> None:
    factors = dict.fromkeys(HOSTS, 1.0) | {"node1": 1.001, "node2": 0.999, "node4": 1.5, "node6": 0.0}
    _alone(tmp_path, factors)
    write_reports(tmp_path)

    page = open_page(tmp_path / "deepep-benchmark.html")
    assert "the self-test of node6, node4 are out of line" in page.inner_text(".notes")
    rows = page.locator("#before tbody tr").all_inner_texts()
    assert rows[0].startswith("node6") and "failed: there is no results.json" in rows[0]
    assert rows[1].startswith("node4") and "+50.0%" in rows[1] and "slower dispatch" in rows[1]
    assert all(row.split("\t")[1] == "completed" for row in rows[2:]) and len(rows) == len(HOSTS)
    page.locator("#before tbody a", has_text="node4").click()
    page.wait_for_selector('details[id="run-selftest.node4/0"][open]')

    troubles = {one["host"]: one for one in _summary(tmp_path)["selftest"]}
    assert set(troubles) == {"node4", "node6"}
    assert troubles["node4"]["outliers"]["dispatch"]["is"] == "slower"
    assert troubles["node6"]["reason"]
    assert "self-test, node4: dispatch +50.0%" in (tmp_path / "summary.md").read_text()


def test_sound_hosts_take_few_words(tmp_path: Path) -> None:
    write_tree(tmp_path, [make_run()])
    good = [entry("python", PASS, "Python 3.11")]
    _examined(tmp_path, node1=good, node2=good)
    change_json(tmp_path / "preflight.json", lambda whole: whole.update(refused={}))
    write_reports(tmp_path)
    page = (tmp_path / "deepep-benchmark.html").read_text()
    assert "Preflight of 2 hosts: 2 pass" in page
    assert "Before the runs" not in page and 'data-name="preflight"' not in page
    assert _summary(tmp_path) == {"preflight": [], "selftest": None}
    assert "before the runs" not in (tmp_path / "summary.md").read_text()


def test_files_that_hold_anything_do_not_stop_the_page(tmp_path: Path) -> None:
    write_tree(tmp_path, [make_run()])
    write(tmp_path / "preflight.json", {"hosts": {"node1": 7, "../x": "pass"}, "across": [{"checks": 3}]})
    write(tmp_path / "preflight/node1.json", {"checks": [{"name": None, "result": "warn"}, {"result": "x"}]})
    write(
        tmp_path / "selftest.json",
        {"hosts": {"node1": {"times_s": {"a": "x", "b": 1}}}, "groups": [1, {"hosts": 5}]},
    )
    write_reports(tmp_path)
    assert [one["result"] for one in _summary(tmp_path)["preflight"]] == ["warn"]
