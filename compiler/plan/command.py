"""The command that starts one host of a run, by program. Names and values only: nothing passes a shell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches

from compiler.inventory.model import Settings
from compiler.plan.model import Join, Text, Variable
from compiler.scenario.model import Arguments

BUNDLED_OPTIONS = ("--seed", "--probe-links")
"""The bundled program's options that extra_cmd_args may set."""

_IMAGE_PROGRAMS = {
    "standard": "/workspace/dp-benchmark/benchmark/benchmark.py",
    "low_latency": "/workspace/dp-benchmark/benchmark/benchmark_ll.py",
}
"""Where the seed page's image has its programs."""


def bundled(
    hosts: int, settings: Settings, extra: Mapping[str, str], profiler: tuple[Text, ...] = ()
) -> tuple[Text, ...]:
    """Returns torchrun with one process per rank; the interpreter is the host's own. profiler: words that
    start each rank (nsys.py)."""
    return (
        Join((Variable.PYTHON,)),
        "-m",
        "torch.distributed.run",
        *_rendezvous(hosts, settings.gpus_per_node, settings),
        *(("--no-python", *profiler, Join((Variable.PYTHON,))) if profiler else ()),
        Join((Variable.PROGRAM_DIR, "/deepep_bench")),
        Join(("--config=", Variable.RUN_DIR, "/config.yaml")),
        Join(("--output-dir=", Variable.RUN_DIR)),
        *_extra(extra),
    )


def of_image(
    hosts: int,
    settings: Settings,
    arguments: Arguments,
    extra: Mapping[str, str],
    profiler: tuple[Text, ...] = (),
) -> tuple[Text, ...]:
    """Returns torchrun with one process per host: the image's program spawns the ranks itself.

    profiler: words that start it (nsys.py).
    """
    return (
        *profiler,
        "torchrun",
        *_rendezvous(hosts, 1, settings),
        _IMAGE_PROGRAMS[arguments.mode],
        arguments.config_file_path,
        *_extra(extra),
    )


def mounts(arguments: Arguments, settings: Settings, of_test: tuple[str, ...]) -> tuple[Text, ...]:
    """Returns the mounts: the program's own, the inventory's, the test's; none without a container."""
    if settings.container_runtime == "none":
        return ()
    own: tuple[Text, ...] = ()
    if settings.program == "image":
        own = (
            Join((Variable.RUN_DIR, "/config.yaml:", arguments.config_file_path, ":ro")),
            Join((Variable.RUN_DIR, "/results:", arguments.results_dir)),
        )
    return (*own, *settings.container_mounts, *of_test)


def unknown_options(extra: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yields those keys of ``extra`` that the bundled program does not have, with a way out."""
    for key in extra:
        if key not in BUNDLED_OPTIONS:
            near = get_close_matches(key, BUNDLED_OPTIONS, n=1)
            allowed = f"the bundled program takes {', '.join(BUNDLED_OPTIONS)}"
            yield key, f"did you mean {near[0]}?" if near else allowed


def _rendezvous(hosts: int, processes: int, settings: Settings) -> tuple[Text, ...]:
    return (
        f"--nnodes={hosts}",
        f"--nproc-per-node={processes}",
        Join(("--node-rank=", Variable.NODE_RANK)),
        Join(("--master-addr=", Variable.MASTER_ADDR)),
        Join(("--master-port=", Variable.MASTER_PORT)),
        "--rdzv-backend=static",
        f"--rdzv-conf=timeout={settings.rendezvous_timeout_s}",
        "--max-restarts=0",
        "--monitor-interval=0.5",
    )


def _extra(extra: Mapping[str, str]) -> tuple[str, ...]:
    """Returns ``key=value``, or ``key`` alone where the value is empty, as CloudAI does."""
    return tuple(f"{key}={value}" if value else key for key, value in extra.items())
