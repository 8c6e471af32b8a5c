"""A rule fires only where it belongs; a sweep tells a finding once; no value makes an exception."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.diagnostics.model import Severity
from compiler.rules.kernels import RunFacts, check_kernels, check_run, sizes
from compiler.rules.kernels.limits import releases
from compiler.rules.kernels.model import Kernel
from compiler.rules.kernels.registry import RULES
from tests.rules.kernels.build import default_arguments, facts

WRONG_FOR_DEEPEP: dict[str, Any] = {
    "num_experts": 32 * 2000, "num_topk": 100, "hidden_size": 12345, "tokens": 99999, "num_sms": 999,
    "num_qps_per_rank": 1, "allow_mnnvl": True,
}  # fmt: skip
NOISY_ENV = {
    "NVSHMEM_MAX_TEAMS": "32", "NVSHMEM_QP_DEPTH": "many", "EP_DISABLE_GIN": "1", "NCCL_CUMEM_ENABLE": "0",
    "DISABLE_SM90_FEATURES": "1", "EP_USE_NVIDIA_TOOLS": "1",
}  # fmt: skip


@pytest.mark.parametrize("backend", ["gloo", "nccl"])
@pytest.mark.parametrize("mode", ["standard", "low_latency"])
def test_plain_collectives_have_no_kernel_limits(backend: str, mode: str) -> None:
    run = facts(backend, 4, {**WRONG_FOR_DEEPEP, "mode": mode}, env=NOISY_ENV, time_limit_s=1)
    assert check_run(run) == ()


def test_plain_collectives_keep_what_the_program_needs() -> None:
    found = check_run(facts("gloo", 2, {"num_experts": 250, "data_type": "fp8", "hidden_size": 1000}))
    assert [finding.code for finding in found] == ["DEP301", "DEP305"]
    assert not any("DeepEP" in finding.why for finding in found)


@pytest.mark.parametrize(
    ("arguments", "hosts"),
    [({}, 2), ({"mode": "low_latency", "tokens": 128, "num_topk": 1}, 2), ({}, 1)],
)
@pytest.mark.parametrize("version", [None, "1.2.1", "2.1.0"])
@pytest.mark.parametrize("program", ["bundled", "image"])
def test_the_documented_examples_have_no_error(
    arguments: dict[str, Any], hosts: int, version: str | None, program: str
) -> None:
    found = check_run(facts("deepep", hosts, arguments, version=version, program=program))
    assert not [finding for finding in found if finding.severity is Severity.ERROR]


def test_unknown_release_downgrades_what_only_one_release_forbids() -> None:
    found = {finding.code: finding for finding in check_run(facts("deepep_v1", 3, {"num_experts": 240}))}
    assert found["DEP313"].severity is Severity.WARNING
    assert found["DEP313"].releases == ("1.2.1",)
    assert found["DEP313"].message.endswith("(with DeepEP 1.2.1)")
    known = {f.code: f for f in check_run(facts("deepep_v1", 3, {"num_experts": 240}, version="1.2.1"))}
    assert known["DEP313"].severity is Severity.ERROR


def test_errors_stay_errors_where_no_release_works() -> None:
    """num_topk = 33 is forbidden by V1's rule in 1.2.1 and by V2's rule in 2.1.0."""
    found = {finding.code: finding for finding in check_run(facts("deepep", 2, {"num_topk": 33}))}
    assert found["DEP321"].severity is Severity.ERROR
    assert found["DEP321"].releases == ("1.2.1",)
    assert found["DEP366"].severity is Severity.ERROR
    assert found["DEP366"].releases == ("2.1.0",)


def test_the_image_program_chooses_sms_and_queue_pairs_itself() -> None:
    arguments = {"num_sms": 25, "num_qps_per_rank": 3}
    bundled = {finding.code for finding in check_run(facts("deepep_v1", 2, arguments))}
    image = {finding.code for finding in check_run(facts("deepep_v1", 2, arguments, program="image"))}
    assert {"DEP329", "DEP332"} <= bundled
    assert not {"DEP329", "DEP331", "DEP332", "DEP333"} & image


def test_the_image_program_is_v1_with_every_release() -> None:
    found = check_run(facts("deepep", 5, {"num_experts": 240}, program="image", version="2.1.0"))
    assert "DEP313" in {finding.code for finding in found}


def test_every_rule_is_silent_outside_its_kernels() -> None:
    reached = {
        (backend, mode): {f.code for f in check_run(facts(backend, 4, {**WRONG_FOR_DEEPEP, "mode": mode}))}
        for backend in ("deepep_v1", "deepep_v2")
        for mode in ("standard", "low_latency")
    }
    of = {
        ("deepep_v1", "standard"): {Kernel.V1_INTERNODE},
        ("deepep_v1", "low_latency"): {Kernel.V1_LOW_LATENCY},
        ("deepep_v2", "standard"): {Kernel.V2},
        ("deepep_v2", "low_latency"): {Kernel.V2},
    }
    by_code = {rule.code: rule for rule in RULES}
    for key, found in reached.items():
        assert found
        for code in found:
            assert by_code[code].kernels & of[key], (key, code)


def test_assumed_ranks_are_said() -> None:
    found = check_run(facts("deepep_v1", 2, {"num_experts": 250}, ranks_assumed=True))
    assert "8 assumed" in found[0].message


def test_sweep_tells_a_finding_once_with_its_points() -> None:
    runs = [
        (f"num_topk = {topk}, tokens = {tokens}", facts("deepep_v1", 1, {"num_topk": topk, "tokens": tokens}))
        for topk in (8, 33)
        for tokens in (1024, 4096)
    ]
    found = [finding for finding in check_kernels(runs) if finding.code == "DEP321"]
    assert len(found) == 1
    assert found[0].points == ("num_topk = 33, tokens = 1024", "num_topk = 33, tokens = 4096")


def test_sweep_names_no_points_where_all_are_meant() -> None:
    runs = [(f"{tokens}", facts("deepep_v1", 1, {"num_topk": 33, "tokens": tokens})) for tokens in (1, 2)]
    found = [finding for finding in check_kernels(runs) if finding.code == "DEP321"]
    assert [finding.points for finding in found] == [()]


def test_no_hosts_is_not_for_these_rules() -> None:
    assert check_run(facts("deepep", 0)) == ()


def test_low_latency_buffer_is_what_deepep_prints() -> None:
    """DeepEP's test prints 2146.96 MB for 128 tokens, 7168 channels, 288 experts."""
    assert f"{sizes.low_latency_buffer(128, 7168, 288) / 1e6:.2f}" == "2146.96"


def test_default_configurations_fit_with_default_sms() -> None:
    for release in releases():
        for hosts in (2, 4, 8, 16, 18, 20):
            run = facts("deepep_v1", hosts, {"num_experts": hosts * 8}, version=release.version)
            assert not {f.code for f in check_run(run) if f.severity is Severity.ERROR}


INTEGERS = st.one_of(
    st.integers(1, 2**31 - 1), st.sampled_from([1, 2, 3, 7, 8, 9, 128, 256, 511, 512, 7168, 8192])
)
ENV_NAMES = st.sampled_from(
    [*NOISY_ENV, "EP_OVERRIDE_RDMA_SL", "NVSHMEM_HCA_PE_MAPPING", "NCCL_GIN_ENABLE", "X"]
)
RUNS = st.builds(
    RunFacts,
    arguments=st.builds(
        type(default_arguments()),
        **{
            name: st.just(getattr(default_arguments(), name))
            for name in ("docker_image_url", "config_file_path", "results_dir", "seed")
        },
        backend=st.none(),
        mode=st.sampled_from(["standard", "low_latency"]),
        data_type=st.sampled_from(["bfloat16", "fp8"]),
        **{name: INTEGERS for name in ("tokens", "num_experts", "num_topk", "hidden_size")},
        **{name: INTEGERS for name in ("num_warmups", "num_iterations")},
        **{name: st.none() | INTEGERS for name in ("num_sms", "num_qps_per_rank")},
        **{
            name: st.booleans()
            for name in (
                "allow_nvlink_for_low_latency", "allow_mnnvl", "round_scale", "use_ue8m0", "shuffle_columns",
                "use_kineto_profiler",
            )
        },
    ),
    nodes=st.integers(-1, 300) | INTEGERS,
    ranks_per_host=st.integers(-1, 80) | INTEGERS,
    backend=st.sampled_from(["deepep", "deepep_v1", "deepep_v2", "nccl", "gloo"]),
    program=st.sampled_from(["bundled", "image"]),
    deepep_version=st.none() | st.sampled_from(["1.2.1", "2.0.0", "2.1.0"]) | st.text(max_size=12),
    env=st.dictionaries(ENV_NAMES, st.text(max_size=40) | st.integers().map(str), max_size=5),
    time_limit_s=st.none() | INTEGERS,
    gpu_sms=st.integers(1, 1000),
    ranks_assumed=st.booleans(),
)  # fmt: skip


@given(RUNS)
def test_no_exception_for_wild_values(run: RunFacts) -> None:
    for finding in check_run(run):
        assert finding.message
        assert finding.fix
        assert len(finding.message) < 600


FIXABLE = st.fixed_dictionaries(
    {
        "num_topk": st.integers(1, 60),
        "hidden_size": st.integers(256, 12000),
        "num_experts": st.integers(64, 4096),
    }
)


@given(FIXABLE, st.sampled_from(["deepep_v1", "deepep_v2"]), st.sampled_from([1, 2, 4, 8]))
def test_offered_sizes_are_legal(arguments: dict[str, int], backend: str, hosts: int) -> None:
    """Every number that a fix offers for hidden_size takes its finding away."""
    own = {"DEP325", "DEP326", "DEP327", "DEP328", "DEP369", "DEP370"}
    for finding in check_run(facts(backend, hosts, arguments, version="2.1.0")):
        if finding.code not in own:
            continue
        offered = [int(word.strip(",")) for word in finding.fix.split() if word.strip(",").isdigit()]
        assert offered
        for size in offered:
            again = check_run(facts(backend, hosts, {**arguments, "hidden_size": size}, version="2.1.0"))
            assert not own & {other.code for other in again if arguments["num_topk"] <= 32}
