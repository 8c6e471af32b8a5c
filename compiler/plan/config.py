"""Arguments -> ``config.yaml``, which drives the benchmark program."""

from __future__ import annotations

from collections.abc import Mapping

from compiler.inventory.model import Settings
from compiler.plan.model import Scalar
from compiler.scenario.model import Arguments

CLOUDAI_KEYS = (
    "tokens",
    "num_experts",
    "num_topk",
    "hidden_size",
    "data_type",
    "allow_nvlink_for_low_latency",
    "allow_mnnvl",
    "round_scale",
    "use_ue8m0",
    "shuffle_columns",
    "use_kineto_profiler",
    "num_warmups",
    "num_iterations",
)
"""What CloudAI writes, in its order; the image's own program reads these."""

BUNDLED_KEYS = ("num_sms", "num_qps_per_rank", "seed")
"""What the bundled program reads besides; absent means automatic."""

WHERE_USED = (
    "routing",
    "num_groups",
    "num_topk_groups",
    "imbalance",
    "routing_trace",
    "use_logfmt",
    "enable_tuning",
    "dispatch_chunks",
    "combine_chunks",
)
"""Written where they change something: the program has the schema's defaults."""


def config(
    arguments: Arguments, settings: Settings, program: str, backend: str
) -> tuple[Mapping[str, Scalar], Mapping[str, int]]:
    """Returns ``config.yaml`` in order, and what the TOML asked for where the inventory caps it."""
    capped = {
        "num_warmups": _capped(arguments.num_warmups, settings.warmups_cap),
        "num_iterations": _capped(arguments.num_iterations, settings.iterations_cap),
    }
    requested = {name: asked for name in capped if (asked := getattr(arguments, name)) != capped[name]}
    values: dict[str, Scalar] = {name: getattr(arguments, name) for name in CLOUDAI_KEYS}
    values.update(capped)
    if program == "bundled":
        values["mode"] = arguments.mode
        values["backend"] = backend
        for name in BUNDLED_KEYS:
            value = getattr(arguments, name)
            if value is not None:
                values[name] = value
        for name in WHERE_USED:
            value = getattr(arguments, name)
            if value not in (None, False, "uniform"):
                values[name] = value
        values["process_group_timeout_s"] = settings.process_group_timeout_s
        values.update({f"requested_{name}": asked for name, asked in requested.items()})
    return values, requested


def _capped(asked: int, cap: int | None) -> int:
    return asked if cap is None else min(asked, cap)
