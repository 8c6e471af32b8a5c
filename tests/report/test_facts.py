"""Spread, ratios, sweeps, comparison, Markdown: the same facts in page, summary.json and the other files."""

from __future__ import annotations

import csv
import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe

from compiler.compare import inference
from compiler.report.write import write_reports
from tests.compare.trees import make_tree, scale_records, spaced
from tests.emit.bundles import INPUT, compile_to
from tests.judge.tree import (
    METADATA,
    change_json,
    make_evidence,
    make_links,
    make_plan,
    make_run,
    make_state,
    result_dir,
    write,
    write_tree,
)
from tests.report.conftest import Open

SCHEMAS = Path(__file__).parents[2] / "schemas"
H100 = "NVIDIA H100 80GB HBM3"


def _gpu_tree(top: Path, runs: list[dict[str, Any]], name: str = "gpu", slower: float = 1.0) -> Path:
    """A tree of runs on H100s in which all but the shape is invented."""
    write_tree(top, runs, name=name)
    for number, run in enumerate(runs):
        for host in run["hosts"]:
            gpus = "".join(f'\n[[gpus]]\nname = "{H100}"\n' for _ in range(run["ranks_per_host"]))
            write(
                top / run["id"] / f"metadata/node-{host['name']}.toml",
                METADATA.format(host=host["name"]) + gpus,
            )

        def change(records: list[dict[str, Any]], run: dict[str, Any] = run, number: int = number) -> None:
            for record in records:
                factor = slower * (1 + 0.002 * (number % 5))
                record["stand_in"] = False
                record["deepep_time"] *= factor
                record["global_bw"] /= factor
                times = record["time_s"]
                record["time_s"] = {
                    key: [v * factor for v in value] if isinstance(value, list) else value * factor
                    for key, value in times.items()
                }
                for rank in record["per_rank"]:
                    for key in ("mean_s", "median_s", "min_s", "max_s"):
                        rank[key] *= factor

        change_json(top / run["id"] / result_dir(run) / "results.json", change)
    return top


def _v1(run_id: str = "Tests.1/0", **changes: Any) -> dict[str, Any]:
    return make_run(run_id, **({"hosts": ("gpu1",), "ranks_per_host": 4, "backend": "deepep_v1"} | changes))


def _set(top: Path, run: dict[str, Any], **values: Any) -> None:
    def change(records: list[dict[str, Any]]) -> None:
        for record in records:
            record.update(values)

    change_json(top / run["id"] / result_dir(run) / "results.json", change)


def _summary(top: Path) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads((top / "summary.json").read_text())
    schema = json.loads((SCHEMAS / "summary.schema.json").read_text())
    jsonschema.validate(summary, schema)
    return summary


class TestSpread:
    def test_a_slow_host_and_a_slow_link_stand_out(self, tmp_path: Path, open_page: Open) -> None:
        hosts = tuple(f"n{number}" for number in range(6))
        run = make_run(hosts=hosts, ranks_per_host=2)
        write_tree(tmp_path, [run])

        def apart(plan: dict[str, Any]) -> None:
            for host in plan["hosts"].values():
                host["one_machine"] = None

        change_json(tmp_path / "plan.json", apart)

        def slow(records: list[dict[str, Any]]) -> None:
            for record in records:
                for rank in record["per_rank"]:
                    factor = 1 + 0.001 * rank["rank"] + (0.3 if rank["host"] == "n4" else 0)
                    rank |= {key: 0.004 * factor for key in ("mean_s", "median_s", "min_s", "max_s")}

        change_json(tmp_path / "Tests.1/0" / result_dir(run) / "results.json", slow)
        links = make_links(run, lambda s, d: (3.0 if s == 2 else 1.0) * (4.0 if s // 2 != d // 2 else 1.0))
        write(tmp_path / "Tests.1/0" / result_dir(run) / "links.json", links)
        write_reports(tmp_path)

        facts = {fact["operation"]: fact for fact in _summary(tmp_path)["report"]["spread"]}
        named = {
            operation: {(o["role"], o["label"], o["speed"]) for o in fact["outliers"]}
            for operation, fact in facts.items()
        }
        host = {("host", "n4", "slow")}
        assert named == {"dispatch": host, "combine": host, "links": {("sender", "rank 2 (n1)", "slow")}}
        page = open_page(tmp_path / "deepep-benchmark.html")
        text = page.inner_text("#spread")
        assert "slow host n4" in text and "slow sender rank 2 (n1)" in text
        assert page.locator("[data-plot$=-links][data-state=drawn]").count() == 1
        assert "host n4 +" in (tmp_path / "summary.md").read_text()

    def test_ranks_that_agree_are_no_outliers(self, tmp_path: Path, open_page: Open) -> None:
        write_tree(tmp_path, [make_run()])
        write_reports(tmp_path)
        assert all(fact["outliers"] == [] for fact in _summary(tmp_path)["report"]["spread"])
        page = open_page(tmp_path / "deepep-benchmark.html")
        assert "No rank, host or link is out of line" in page.inner_text("#spread")


class TestRatios:
    def test_limits_are_those_of_the_gpu(self, tmp_path: Path) -> None:
        run = _v1()
        _gpu_tree(tmp_path, [run])
        _set(tmp_path, run, wire_nvl_bw=225.0)
        passed, _ = write_reports(tmp_path)
        assert passed
        found = _summary(tmp_path)["report"]["ratios"]
        assert {(one["figure"], one["expected"], one["ratio"]) for one in found} == {
            ("wire_nvl_bw", 450.0, 0.5)
        }

    @pytest.mark.parametrize(
        ("gpu", "bandwidth", "valid"),
        [
            ("NVIDIA H800", 300.0, False),
            (H100, 450.0, True),
            (H100, 451.0, False),
            ("NVIDIA GH200 480GB", 451.0, False),
            ("NVIDIA B200", 451.0, True),
        ],
    )
    def test_above_100_percent_of_the_gpus_own_limit_is_invalid(
        self, tmp_path: Path, gpu: str, bandwidth: float, valid: bool
    ) -> None:
        run = _v1()
        _gpu_tree(tmp_path, [run])
        write(tmp_path / "Tests.1/0/metadata/node-gpu1.toml", f'[[gpus]]\nname = "{gpu}"\n')
        _set(tmp_path, run, wire_nvl_bw=bandwidth)
        write_reports(tmp_path)
        summary = _summary(tmp_path)
        assert summary["runs"][0]["verdict"] == ("PASS" if valid else "INVALID")
        assert all(one["ratio"] <= 1 for one in summary["report"]["ratios"])

    def test_above_the_nics_own_limit_is_invalid(self, tmp_path: Path) -> None:
        run = _v1(hosts=("gpu1", "gpu2"))
        _gpu_tree(tmp_path, [run])
        for host in ("gpu1", "gpu2"):
            rates = '["mlx5_0/1: 400 Gb/sec (4X NDR)", "mlx5_1/1: 400 Gb/sec (4X NDR)"]'
            text = f"[network]\ninfiniband_rates = {rates}\n" + f'\n[[gpus]]\nname = "{H100}"\n' * 4
            write(tmp_path / f"Tests.1/0/metadata/node-{host}.toml", text)
        _set(tmp_path, run, wire_rdma_bw=49.0)
        assert write_reports(tmp_path)[0]
        _set(tmp_path, run, wire_rdma_bw=51.0)
        assert not write_reports(tmp_path)[0]
        reason = _summary(tmp_path)["runs"][0]["reasons"][0]
        assert (reason["code"], "50" in reason["text"]) == ("link-limit", True)

    REFERENCE = """schema = 1
title = "t"
[[reference]]
figure = "deepep_time"
value = 0.004
tolerance = 0.1
provenance = { kind = "measured", source = "made up" }

[reference.match]
gpu = "H100"
backend = "deepep_v1"
mode = "standard"
operation = "dispatch"
data_type = "bfloat16"
num_ranks = 4
"""

    @pytest.mark.parametrize(("slower", "outcome"), [(1.0, "within"), (1.2, "worse"), (0.8, "better")])
    def test_references(self, tmp_path: Path, slower: float, outcome: str, open_page: Open) -> None:
        _gpu_tree(tmp_path / "tree", [_v1()], slower=slower)
        write(tmp_path / "own.toml", self.REFERENCE)
        passed, _ = write_reports(tmp_path / "tree", references=[tmp_path / "own.toml"])
        assert passed, "only a scenario makes a reference count"
        (found,) = [r for r in _summary(tmp_path / "tree")["report"]["ratios"] if r["source"] == "made up"]
        assert (found["outcome"], found["operation"]) == (outcome, "dispatch")
        page = open_page(tmp_path / "tree" / "gpu.html")
        assert outcome in page.inner_text("#good")

    @pytest.mark.parametrize(
        ("slower", "gpu", "verdict", "code"),
        [
            (1.0, "H100", "PASS", None),
            (1.2, "H100", "FAIL", "reference-missed"),
            (1.0, "H20", "UNVERIFIED", "reference-absent"),
        ],
    )
    def test_a_scenario_makes_them_count(
        self, tmp_path: Path, slower: float, gpu: str, verdict: str, code: str | None
    ) -> None:
        import tomllib

        _gpu_tree(tmp_path, [_v1()], slower=slower)
        values = tomllib.loads(self.REFERENCE.replace('"H100"', f'"{gpu}"'))["reference"]
        change_json(
            tmp_path / "plan.json", lambda plan: plan.update(references={"fail": True, "values": values})
        )
        write_reports(tmp_path)
        run = _summary(tmp_path)["runs"][0]
        assert (run["verdict"], run["reasons"][0]["code"] if run["reasons"] else None) == (verdict, code)

    def test_what_deepeps_test_prints_is_listed_whichever_form_it_calls(self, tmp_path: Path) -> None:
        """V1's test repeats a dispatch by its cached handle: a variant, whose other figures stay aside."""
        run = _v1()
        _gpu_tree(tmp_path / "tree", [run])

        def as_v1(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
            dispatch, combine = records
            cached = dispatch | {"variant": "cached", "primary": False, "simple_nvl_bw": 250.0}
            cached["own_test"] = {"call": "cached handle", "parts": {}, "marks": [TestMarks.THROTTLED]}
            return [dispatch | {"variant": "counts"}, cached, combine]

        change_json(tmp_path / "tree/Tests.1/0" / result_dir(run) / "results.json", as_v1)
        one = self.REFERENCE.partition("[[reference]]")[2]
        tested = one.replace("deepep_time", "simple_nvl_bw").replace("0.004", "250.0")
        write(tmp_path / "own.toml", f"{self.REFERENCE}\n[[reference]]{tested}")
        write_reports(tmp_path / "tree", references=[tmp_path / "own.toml"])
        page = (tmp_path / "tree/gpu.html").read_text()
        rows = page.partition('id="good"')[2].partition("</section>")[0].split("<tr>")[2:]
        listed = [("dispatch (cached)" in row, "NVLink, as" in row, "throttled" in row) for row in rows]
        assert sorted(listed) == [(False, False, False), (True, True, True)]
        overview = page.partition('id="runs"')[2].partition("</section>")[0]
        assert overview.count("throttled</span>") == 1
        assert "While DeepEP's own test was measured:</strong> GPU 3" in page


class TestStarts:
    @staticmethod
    def _facts(top: Path) -> dict[tuple[str, str], dict[str, Any]]:
        """Returns the time by entry and operation."""
        return {
            (point["entry"], one["operation"]): one["figures"]["deepep_time"]
            for point in _summary(top)["report"]["starts"]
            for one in point["operations"]
        }

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    @pytest.mark.parametrize("width", [1280, 420])
    def test_without_a_sweep(self, tmp_path: Path, open_page: Open, scheme: str, width: int) -> None:
        entries = {
            "Five": {"dispatch": spaced(0.004, 0.01, 5), "combine": spaced(0.006, 0.02, 5)},
            "Three": {"dispatch": spaced(0.004, 0.01, 3)},
            "Alike": {"dispatch": [0.004] * 5},
            "Once": {"dispatch": [0.004]},
        }
        passed, shown = write_reports(make_tree(tmp_path, entries, session="s"))
        assert passed
        facts = self._facts(tmp_path)
        assert set(facts) == {
            ("Five", "dispatch"),
            ("Five", "combine"),
            ("Three", "dispatch"),
            ("Alike", "dispatch"),
        }
        five = facts["Five", "dispatch"]
        assert (five["starts"], five["median"], five["why"]) == (5, pytest.approx(0.004), None)
        assert five["cv"] == pytest.approx(0.01, rel=1e-3)
        # The same bootstrap as compare's, of one tree.
        expected = inference.bootstrap_mean(np.log(spaced(0.004, 0.01, 5)), 0.05)
        assert expected and five["interval"] == pytest.approx(np.exp(expected))
        assert five["interval"][0] < 0.004 < five["interval"][1]
        assert (facts["Three", "dispatch"]["interval"], facts["Three", "dispatch"]["why"]) == (
            None, "an interval needs 5 starts"
        )  # fmt: skip
        assert facts["Alike", "dispatch"]["why"] == "all starts give the very same value"
        page = open_page(tmp_path / "deepep-benchmark.html", scheme=scheme, width=width)
        rows = page.locator("#starts tbody tr").all_inner_texts()
        assert len(rows) == 4
        assert all(piece in rows[0] for piece in ("Five", "dispatch", "1.00%", "4.00 ms", "3.94 to 4.06 ms"))
        assert " to " not in rows[2]
        assert "an interval needs 5 starts" in page.inner_text("#starts")
        assert "one of 5 of Five" in (page.text_content('details[id="run-Five/3"]') or "")
        assert page.eval_on_selector("html", "e => e.scrollWidth <= innerWidth")
        assert Axe().run(page).response["violations"] == []
        text = (tmp_path / "summary.md").read_text()
        assert "| Three | dispatch | 3 of 3 | 4.00 ms | 1.00% | an interval needs 5 starts |" in text
        assert "Five dispatch: 5 of 5 starts, median 4.00 ms, CV 1.00%, 95 % interval" in " ".join(
            shown.split()
        )

    def test_with_a_sweep(self, tmp_path: Path, open_page: Open) -> None:
        """Points stay apart, starts that did not pass do not count, and the curves have the intervals."""
        points = [(step, tokens) for step, tokens in enumerate((128, 256), 1)]
        runs = [
            make_run(f"S/{i}/{step}", sweep={"cmd_args.tokens": t}) for i in range(6) for step, t in points
        ]
        write_tree(tmp_path, runs)
        for run, factor in zip(runs, [f for f in spaced(1.0, 0.01, 6) for _ in points], strict=True):
            scale_records(tmp_path / run["id"] / result_dir(run) / "results.json", factor * (run["step"] + 1))
        write(tmp_path / "S/5/2/logs/node1.state.json", make_state(runs[-1], "node1", exit_code=1))
        assert not write_reports(tmp_path)[0]
        starts = _summary(tmp_path)["report"]["starts"]
        assert [(one["values"], len(one["runs"])) for one in starts] == [
            ({"cmd_args.tokens": 128}, 6), ({"cmd_args.tokens": 256}, 6),
        ]  # fmt: skip
        times = [one["operations"][0]["figures"]["deepep_time"] for one in starts]
        assert [time["starts"] for time in times] == [6, 5]
        assert times[1]["median"] == pytest.approx(1.5 * times[0]["median"], rel=0.02)
        (sweep,) = _summary(tmp_path)["report"]["sweeps"]
        assert [point["figures"][0]["interval"] for point in sweep["points"]] == [
            t["interval"] for t in times
        ]
        rows = list(csv.DictReader(io.StringIO((tmp_path / "sweeps.csv").read_text())))
        assert float(rows[0]["deepep_time_low_s"]) == times[0]["interval"][0]
        page = open_page(tmp_path / "deepep-benchmark.html")
        assert "5 of 6" in page.locator("#starts tbody tr", has_text="256").first.inner_text()
        assert page.locator("#sweeps .errorbar").count() > 0


class TestSweeps:
    def _tree(self, top: Path) -> Path:
        runs = [
            make_run(f"S/{i}/{step}", sweep={"cmd_args.tokens": tokens, "cmd_args.num_sms": sms})
            for i in range(2)
            for step, (tokens, sms) in enumerate([(t, s) for t in (128, 1024) for s in (24, 64)], 1)
        ]
        write_tree(top, runs)
        for run in runs:
            tokens, sms = run["sweep"].values()

            def change(
                records: list[dict[str, Any]], factor: float = (tokens / 128) ** 0.2 * sms / 24
            ) -> None:
                for record in records:
                    record["global_bw"] *= factor
                    record["bytes"]["global"] = int(record["bytes"]["global"] * factor)

            change_json(top / run["id"] / result_dir(run) / "results.json", change)
        return top

    def test_table_best_point_csv_and_json(self, tmp_path: Path, open_page: Open) -> None:
        assert write_reports(self._tree(tmp_path))[0]
        (sweep,) = _summary(tmp_path)["report"]["sweeps"]
        assert sweep["keys"] == ["cmd_args.tokens", "cmd_args.num_sms"]
        assert [len(point["runs"]) for point in sweep["points"]] == [2, 2, 2, 2]
        best = [point["values"] for point in sweep["points"] if point["figures"][0]["best"]]
        assert best == [{"cmd_args.tokens": 1024, "cmd_args.num_sms": 64}]
        rows = list(csv.DictReader(io.StringIO((tmp_path / "sweeps.csv").read_text())))
        assert len(rows) == 4 * 2
        assert [row["cmd_args.tokens"] for row in rows if row["best"] == "true"] == ["1024", "1024"]
        page = open_page(tmp_path / "deepep-benchmark.html")
        assert "Best dispatch" in page.inner_text("#sweeps")
        # Bandwidth and time over each of two keys.
        assert page.locator("#sweeps [data-plot][data-state=drawn]").count() == 4

    def test_zooming_one_curve_zooms_its_twin(self, tmp_path: Path, open_page: Open) -> None:
        write_reports(self._tree(tmp_path))
        page = open_page(tmp_path / "deepep-benchmark.html")
        page.evaluate(
            "() => Plotly.relayout('plot-sweep-S-1-global_bw', {'xaxis.range[0]': 30, 'xaxis.range[1]': 50})"
        )
        twin = "document.getElementById('plot-sweep-S-1-deepep_time')"
        page.wait_for_function(f"() => Math.round({twin}.layout.xaxis.range[0]) === 30")


class TestMarks:
    THROTTLED = "GPU 3 of gpu1 was throttled: power cap"

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    @pytest.mark.parametrize("width", [1280, 420])
    def test_a_mark_stands_at_the_figure(
        self, tmp_path: Path, open_page: Open, scheme: str, width: int
    ) -> None:
        runs = [_v1(f"{name}/0") for name in ("Plain", "Hot", "Nsys")]
        throttled, profiled = runs[1:]
        profiled["test_definition"] = {"nsys": {"sample": "none"}}
        _gpu_tree(tmp_path, runs)
        for run in runs:
            _set(tmp_path, run, wire_nvl_bw=225.0)
        _set(tmp_path, throttled, marks=[self.THROTTLED])
        passed, shown = write_reports(tmp_path)
        assert passed, "a mark is no failure"
        marks = {run["run"]: run["operations"][0]["marks"] for run in _summary(tmp_path)["runs"]}
        nsys = "measured under nsys, which slows the program"
        assert marks == {"Plain/0": [], "Hot/0": [self.THROTTLED], "Nsys/0": [nsys]}
        assert self.THROTTLED in " ".join(shown.split())
        assert self.THROTTLED in (tmp_path / "summary.md").read_text()
        page = open_page(tmp_path / "gpu.html", scheme=scheme, width=width)
        tags = page.locator("#runs td.operation").all_inner_texts()
        assert tags == ["dispatch", "combine", *["dispatch throttled", "combine throttled"],
                        *["dispatch nsys", "combine nsys"]]  # fmt: skip
        assert page.locator("#good .tag", has_text="throttled").count() == 2
        assert "throttled" in page.locator("#plot-bandwidth").inner_text()
        details = page.locator('details[id="run-Hot/0"]')
        assert details.locator("tbody th .tag").all_inner_texts() == ["throttled", "throttled"]
        assert self.THROTTLED in details.inner_text()
        assert page.eval_on_selector("html", "e => e.scrollWidth <= innerWidth")
        assert Axe().run(page).response["violations"] == []


class TestEvidence:
    @staticmethod
    def _tree(top: Path, number: int = 1) -> list[dict[str, Any]]:
        runs = [_v1(f"Tests.{n}/0") for n in range(number)]
        _gpu_tree(top, runs)
        for run in runs:
            evidence = make_evidence(run)
            gpus = evidence["ranks"][0]["conditions"]["gpus"]
            gpus[2]["during"]["throttled"] = ["power cap"]
            gpus[3]["own_test"]["throttled_s"] = {"too hot (software)": 0.4, "part": 2.0}
            evidence["ranks"][3]["libraries"]["libnccl"] = "/opt/libnccl.so.2.30.7"
            write(top / run["id"] / result_dir(run) / "evidence.json", evidence)
        return runs

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    @pytest.mark.parametrize("width", [1280, 420])
    def test_on_the_page(self, tmp_path: Path, open_page: Open, scheme: str, width: int) -> None:
        (run,) = self._tree(tmp_path)
        own = {
            "counting": "v2", "call": "dispatch, cached handle", "method": "kernel times of 30 calls",
            "seconds": 0.0004, "nvl_bytes": 1.0, "rdma_bytes": None, "nvl_bw": None, "rdma_bw": None,
            "parts": {"kernel": 0.0003, "epilogue": 0.0001, "send": 0.00002},
        }  # fmt: skip
        _set(tmp_path, run, own_test=own, kernel_time=0.0031, epilogue_time=0.0011)
        assert write_reports(tmp_path)[0]
        page = open_page(tmp_path / "gpu.html", scheme=scheme, width=width)
        details = page.locator('details[id="run-Tests.0/0"]')
        text = details.inner_text()
        for piece in (
            "NVIDIA H100 80GB HBM3", "580.159.04", "1935 to 1980 MHz, limit 1980 MHz", "31 to 47 °C",
            "412 to 515 W, limit 700 W", "2 of 4: power cap (timed); too hot (software) (own tests)",
            "496 GB", "1 of 2", "1.10 ms", "Each GPU: 4",
        ):  # fmt: skip
            assert piece in text, piece
        for title, pieces in {
            "Each GPU": ("1654023000003", "1950 to 1980 MHz", "power cap (timed)"),
            "Effective settings": ("num_sms", "24", "asked for: automatic", "nvl_chunk"),
            "Loaded libraries": ("libnccl.so.2.28.9 (rank 0, rank 1, rank 2)", "2.30.7 (rank 3)"),
            "Environment of the ranks": ("NCCL_NVLS_ENABLE",),
            "As DeepEP's own tests": ("300.0 µs", "epilogue", "20.00 µs", "dispatch, cached handle"),
        }.items():
            box = details.locator("details", has_text=title).first
            assert box.get_attribute("open") is None, "what is long is closed"
            box.locator("summary").click()
            shown = box.inner_text()
            assert all(piece in shown for piece in pieces), (title, shown)
        assert page.eval_on_selector("html", "e => e.scrollWidth <= innerWidth")
        assert Axe().run(page).response["violations"] == []

    def test_whatever_it_holds(self, tmp_path: Path, open_page: Open) -> None:
        """A file that lies or was cut is shown as far as it goes, and nothing in it runs."""
        runs = [_v1(f"Tests.{n}/0") for n in range(5)]
        _gpu_tree(tmp_path, runs)
        hostile = "<img src=x onerror=alert(1)>"
        gpu = {
            "index": hostile,
            "model": hostile,
            "during": {"sm_clock_mhz": ["x", 1]},
            "throttled": [hostile],
        }
        for run, value in zip(
            runs,
            (
                [],
                {"ranks": 7, "effective": [], "requested": 1},
                {"ranks": [{"conditions": {"gpus": [gpu]}, "carried": {"nvlink": 3}, "rdma_ports": [1]}]},
                {"ranks": [{"libraries": {hostile: hostile}, "environment": {hostile: hostile}}, {}]},
                {"ranks": [{"conditions": {"gpus": {}}, "carried": {}}], "effective": {hostile: {}}},
            ),
            strict=True,
        ):
            write(tmp_path / run["id"] / result_dir(run) / "evidence.json", value)
        assert write_reports(tmp_path)[0]
        page = open_page(tmp_path / "gpu.html")
        assert page.locator("main img").count() == 0
        assert hostile in (page.text_content('details[id="run-Tests.2/0"]') or "")


class TestComparison:
    def test_in_page_and_markdown(self, tmp_path: Path, open_page: Open) -> None:
        for name, slower in (("base", 1.0), ("new", 1.3)):
            runs = [_v1(f"Tests.1/{number}") for number in range(5)]
            _gpu_tree(tmp_path / name, runs, slower=slower)
            write_reports(tmp_path / name)
            change_json(tmp_path / name / "run.json", lambda run, name=name: run.update(run_id=name))
        write_reports(tmp_path / "new", base=tmp_path / "base")
        comparison = _summary(tmp_path / "new")["report"]["comparison"]
        jsonschema.validate(comparison, json.loads((SCHEMAS / "comparison.schema.json").read_text()))
        assert comparison["verdict"] == "worse"
        page = open_page(tmp_path / "new" / "gpu.html")
        assert "worse" in page.inner_text("#better .cause")
        assert "worse" in (tmp_path / "new" / "summary.md").read_text()


def test_markdown_shows_texts_of_a_tree_as_they_are(tmp_path: Path) -> None:
    run = make_run()
    write_tree(tmp_path, [run])
    write(tmp_path / "Tests.1/0/logs/node1.stderr.txt", "CUDA error: `x` | **y** <img src=x> @everyone\n")
    write_reports(tmp_path)
    text = (tmp_path / "summary.md").read_text()
    assert r"\`x\` \| \*\*y\*\* \<img src=x\>" in text
    assert "@everyone" not in text
    assert "suspect: node1" in text


def _compiled(folder: Path, reports: str) -> dict[str, Any]:
    """Returns the plan of a scenario with these reports, as the command compiles it."""
    source = folder / "source"
    shutil.copytree(INPUT, source)
    text = (source / "scenario.toml").read_text(encoding="utf-8")
    (source / "scenario.toml").write_text(text + reports, encoding="utf-8")
    (source / "own.toml").write_text(TestRatios.REFERENCE, encoding="utf-8")
    plan: dict[str, Any] = json.loads((compile_to(folder / "bundle", source) / "plan.json").read_text())
    return plan


def test_a_scenario_chooses_its_reports(tmp_path: Path) -> None:
    compiled = _compiled(
        tmp_path,
        "\n[reports]\nstatus = {enable = false}\njunit = {enable = false}\nmarkdown = {enable = false}\n"
        "tarball = {enable = true}\n",
    )
    top = write_tree(tmp_path / "tree", [make_run()])
    plan = make_plan([make_run()]) | {key: compiled[key] for key in ("reports", "references")}
    write(top / "plan.json", plan)
    passed, shown = write_reports(top)
    there = {path.name for path in top.iterdir()}
    assert passed
    assert {"summary.json", "summary.csv", "manifest.json"} <= there
    assert not {"junit.xml", "summary.md", "deepep-benchmark.html"} & there
    assert not (tmp_path / "tree.tgz").exists()

    (top / "Tests.1/0/job.toml").unlink()
    passed, shown = write_reports(top)
    assert not passed
    assert str(tmp_path / "tree.tgz") in shown
    with tarfile.open(tmp_path / "tree.tgz") as archive:
        assert "tree/summary.json" in archive.getnames()


def test_a_scenario_names_reference_values(tmp_path: Path) -> None:
    references = _compiled(tmp_path, '\n[reports.reference]\nfiles = ["own.toml"]\n')["references"]
    assert references["fail"] is False
    assert [one["provenance"]["source"] for one in references["values"]] == ["made up"]
    top = _gpu_tree(tmp_path / "tree", [_v1()], slower=1.2)
    change_json(top / "plan.json", lambda plan: plan.update(references=references))
    assert write_reports(top)[0], "only fail = true makes them count"
    assert [r["outcome"] for r in _summary(top)["report"]["ratios"] if r["source"] == "made up"] == ["worse"]


def test_baselines_stand_beside_and_never_instead(tmp_path: Path, open_page: Open) -> None:
    run = _v1()
    _gpu_tree(tmp_path, [run])

    def add(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        extra = records[0] | {"variant": "alltoall", "primary": False, "baseline": True, "backend": "nccl"}
        return [*records, extra]

    change_json(tmp_path / "Tests.1/0" / result_dir(run) / "results.json", add)
    passed, _ = write_reports(tmp_path)
    assert passed
    assert (tmp_path / "junit.xml").read_text().count("<testcase") == 2
    page = open_page(tmp_path / "gpu.html")
    assert page.locator(".runs td.operation").all_inner_texts() == ["dispatch", "combine"]
    assert "4.00 ms" in page.locator(".runs td[data-label='NCCL alone']").first.inner_text()
    assert page.locator("#details .tag", has_text="baseline").count() == 1
    assert "marks: the same bytes in NCCL's time" in page.inner_text("#plots, main")
    markdown = (tmp_path / "summary.md").read_text()
    assert "| time (median) | NCCL alone | NCCL, gather |" in markdown
    assert "| dispatch | 10.00 GB/s | 4.00 ms | 4.00 ms | - |" in markdown
