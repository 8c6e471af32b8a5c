"""One benchmark on this rank, phase by phase."""

from __future__ import annotations

import gc
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from . import matrix, profiler, report, store
from .backends import backend_class
from .backends.base import Backend
from .config import Config
from .errors import RefusedError
from .evidence import versions
from .faults import Faults
from .files import write_json, write_text
from .liveness import Liveness
from .memory import memory_text, refuse_unless_it_fits
from .modes import MODES
from .progress import Progress
from .reference import Checked
from .timing import TIMERS, measure
from .traffic import dispatch_row_bytes, rows_between_ranks, traffic_by_operation
from .world import World


def run(config: Config, world: World, output_dir: Path) -> None:
    """Run, check, time, write. Returns only when all ranks are fine; every failure exits the process."""
    faults = Faults(world.rank)
    chosen = backend_class(config.backend)
    live = Liveness(world, config)
    closers: list[Backend] = []

    def close() -> None:
        for backend in closers:
            backend.close()

    try:
        shared = store.connect(world, config.process_group_timeout_s)
        live.start()
        chosen.refuse_unless_possible(config, world)
        refuse_unless_it_fits(config, world)
        backend = chosen(config, world, shared)
        closers.append(backend)
        _Session(config, world, output_dir, faults, live, backend, shared).run(close)
    except BaseException as error:  # also KeyboardInterrupt: the other ranks must hear of it
        live.fail(error, close, memory_text(config, world))
    live.finish()


class _Session:
    def __init__(
        self,
        config: Config,
        world: World,
        output_dir: Path,
        faults: Faults,
        live: Liveness,
        backend: Backend,
        shared: Any,
    ) -> None:
        self._config = config
        self._world = world
        self._output = output_dir
        self._faults = faults
        self._live = live
        self._backend = backend
        self._store = shared
        self._progress = Progress(output_dir / "progress.json" if world.local_rank == 0 else None)

    def run(self, close: Any) -> None:
        config, backend = self._config, self._backend
        self._phase("rendezvous")
        self._refuse_unless_equal()
        backend.open()

        self._phase("prepare")
        mode = MODES[config.mode](config, self._world, backend, self._faults)

        self._phase("check_before")
        before = mode.check("check_before")
        operations = mode.operations()
        gc.collect()
        gc.disable()  # a collection in the middle of an iteration would be timed
        times = {name: self._time(name, operation) for name, operation in operations.items()}
        gc.enable()
        self._phase("check_after")
        after = mode.check("check_after")

        if config.use_kineto_profiler:
            self._phase("profile")
            trace = self._output / "traces" / f"rank-{self._world.rank:04d}.json"
            profiler.write_trace(operations, backend.barrier, backend.device, trace)

        self._phase("write")
        self._write(times, before, after, mode)
        store.wait_for_all(self._store, self._world, "written")
        self._phase("close")
        close()
        if self._world.local_rank == 0:
            self._write_marker()
        store.wait_for_all(self._store, self._world, "end")
        self._progress.show("done")

    def _phase(self, name: str) -> None:
        self._faults.at(name)
        self._live.tick(name)
        self._progress.show(name)

    def _refuse_unless_equal(self) -> None:
        """Hosts that read different files would wait for each other for ever."""
        everybody = store.gather(self._store, self._world, "config", [self._world.host, asdict(self._config)])
        for host, config in everybody:
            if config != everybody[0][1]:
                keys = [key for key in config if config[key] != everybody[0][1][key]]
                raise RefusedError(
                    f"host {host} and host {everybody[0][0]} were given different {', '.join(keys)}"
                )

    def _time(self, name: str, operation: Any) -> list[float]:
        timer = TIMERS[self._backend.timing]
        times: list[float] = []
        for phase, iterations in (
            ("warmup", self._config.num_warmups),
            ("timing", self._config.num_iterations),
        ):

            def before_each(number: int, phase: str = phase, iterations: int = iterations) -> None:
                if number == min(2, iterations // 2):
                    self._faults.at(phase)
                self._live.tick(f"{phase} {name} {number + 1}/{iterations}")
                self._progress.show(phase, name, number, iterations)

            self._progress.show(phase, name, 0, iterations)
            times = measure(operation, timer, self._backend.barrier, iterations, before_each)
        return times

    def _write(
        self, times: dict[str, list[float]], before: dict[str, Checked], after: dict[str, Checked], mode: Any
    ) -> None:
        world, config = self._world, self._config
        mine = report.RankReport(world.rank, world.host, world.local_rank, times, before, after)
        write_json(self._output / "ranks" / f"rank-{world.rank:04d}.json", mine.to_json())
        everybody = store.gather(self._store, world, "report", mine.to_json())
        if world.rank:
            return
        stamp = os.environ.get("DEEPEP_STAMP") or time.strftime("%Y%m%d_%H%M%S")
        name = f"benchmark_{world.size}_ranks_{stamp}_{config.mode}"
        about = report.Circumstances(
            config=config,
            world=world,
            result_dir=f"results/{name}",
            versions=versions(self._backend),
            notes=report.notes(config, self._backend, self._faults.text),
        )
        rows = rows_between_ranks(config, mode.reference.routings)
        ranks = [report.RankReport.from_json(value) for value in everybody]
        results = report.records(about, self._backend, traffic_by_operation(config, rows), ranks)
        folder = self._output / "results" / name
        write_text(folder / "token_matrix.txt", matrix.token_matrix(mode.reference.routings))
        write_text(folder / "token_matrix_kb.txt", matrix.token_matrix_kb(rows, dispatch_row_bytes(config)))
        write_json(folder / "results.json", results)
        for line in report.summary_lines(results):
            print(line, flush=True)

    def _write_marker(self) -> None:
        world = self._world
        first = world.rank - world.local_rank
        marker = {
            "host": world.host,
            "world_size": world.size,
            "ranks": list(range(first, first + world.local_size)),
            "completed": True,
        }
        write_json(self._output / "markers" / f"{world.host}.json", marker)
