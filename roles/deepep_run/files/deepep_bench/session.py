"""One benchmark on this rank, phase by phase."""

from __future__ import annotations

import gc
import os
import time
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any, Iterator

from . import affinity, evidence, kernels, link_probe, matrix, profiler, report, store
from .backends import backend_class
from .backends.base import Backend
from .backends.deepep_base import DeepEPBase
from .baselines import Baselines
from .config import Config
from .errors import RefusedError
from .faults import Faults
from .files import write_json, write_text
from .gpu import GpuWatch
from .links import rdma_ports
from .liveness import Liveness
from .memory import memory_text, refuse_unless_it_fits
from .modes import MODES
from .modes.base import Measurement, Mode
from .progress import Progress
from .reference import Checked
from .routing import trace_digest
from .timing import TIMERS, measure
from .traffic import dispatch_row_bytes, rows_between_ranks
from .tuning import Tuned
from .world import World

OPENING_S = 60.0
"""How much longer than usual a rank may be silent while DeepEP opens its buffers: NVSHMEM connects all ranks
then, with Python's lock held, which takes longer the more hosts there are."""


def run(config: Config, world: World, output_dir: Path) -> None:
    """Run, check, time, write. Returns only when all ranks are fine; every failure exits the process."""
    faults = Faults(world.rank)
    live = Liveness(world, config, output_dir)
    watch = GpuWatch()
    backend: Backend | None = None
    try:
        shared = store.connect(world, config.process_group_timeout_s)
        live.start()
        if world.local_rank == 0 and config.backend != "gloo":
            watch.before()
        # nobody touches a GPU before its host has looked at who is there already
        store.wait_for_all(shared, world, "looked")
        chosen = backend_class(config.backend).resolve(config)
        chosen.refuse_unless_possible(config, world)
        refuse_unless_it_fits(config, world)
        backend = chosen(config, world, shared)
        _Session(config, world, output_dir, faults, live, backend, shared, watch).run()
    except BaseException as error:  # also KeyboardInterrupt: the other ranks must hear of it
        live.fail(error, memory_text(config, world, backend.buffer_bytes if backend else 0))
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
        watch: GpuWatch,
    ) -> None:
        self._config = config
        self._world = world
        self._output = output_dir
        self._faults = faults
        self._live = live
        self._backend = backend
        self._store = shared
        self._watch = watch
        self._tuning: Tuned | None = None
        self._differences: list[str] = []  # between hosts
        self._progress = Progress(output_dir / "progress.json" if world.local_rank == 0 else None)

    def run(self) -> None:
        config, backend = self._config, self._backend
        self._phase("rendezvous")
        self._refuse_unless_equal()
        backend.device_of_rank.use()
        place = affinity.bind(backend.device)  # before libraries start threads of their own
        with self._live.patient(OPENING_S) if isinstance(backend, DeepEPBase) else nullcontext():
            backend.open()

        self._compare_versions()
        self._phase("prepare")
        mode = MODES[config.mode](config, self._world, backend, self._faults)

        if mode.compiles:
            self._phase("compile")  # the supervisor's deadline waits for its end
            with self._live.patient():
                mode.warm_up(self._live.tick)
        self._phase("check_before")
        before = mode.check("check_before")
        if config.enable_tuning:
            before = self._tuned(mode) or before
        if self._world.local_rank == 0 and backend.device.type == "cuda":
            self._watch.start()
            self._watch.look_for_others()
        measurements = ours = mode.measurements()
        gc.collect()
        gc.disable()  # a collection in the middle of an iteration would be timed
        with profiler.captured(backend.device, self._live.patient), self._part("during"):
            times = {each.name: self._time(each) for each in ours}
        baselines_after: dict[str, Checked] = {}
        if isinstance(backend, DeepEPBase):
            measurements = [*ours, *self._compare(mode, times, before, baselines_after)]
        # a profiler that was attached once slows every launch after it: these come when all else is timed
        self._phase("own_tests")
        with self._part("own_test"):  # they keep the GPU busy in between, up to its power limit
            own = mode.own_tests(self._live.tick)
        with self._part("kernels"):
            profiled = self._kernels(ours)
        gc.enable()
        self._phase("check_after")
        after = {**mode.check("check_after"), **baselines_after}
        links = self._links()
        if self._world.local_rank == 0:
            self._watch.look_for_others()
        self._watch.stop()

        if config.use_kineto_profiler:
            self._phase("profile")
            trace = self._output / "traces" / f"rank-{self._world.rank:04d}.json"
            primary = [each for each in measurements if each.primary]
            profiler.write_trace(primary, backend.barrier, backend.device, trace)

        self._phase("write")
        world = self._world
        mine = report.RankReport(
            world.rank,
            world.host,
            world.local_rank,
            times,
            before,
            after,
            own,
            profiled,
            self._evidence(place),
            links,
        )
        self._write(mine, measurements, mode)
        store.wait_for_all(self._store, self._world, "written")
        self._phase("close")
        mode.release()
        gc.collect()
        backend.close()
        if self._world.local_rank == 0:
            self._write_marker()
        store.wait_for_all(self._store, self._world, "end")
        self._progress.show("done")

    def _kernels(self, measurements: list[Measurement]) -> dict[str, kernels.KernelTimes]:
        """Of every measurement whose kernels are known, by its name."""
        found = {}
        for each in measurements:
            if each.kernels:
                self._live.tick(f"kernels of {each.name}")
                found[each.name] = kernels.profile(self._backend.device_of_rank, each)
        return found

    def _tuned(self, mode: Mode) -> dict[str, Checked] | None:
        """Search the settings, then check again with them; None where there was nothing to search."""
        self._phase("tuning")
        tuned = mode.tune(self._live.tick)
        if tuned is None:
            return None
        self._tuning = tuned
        return mode.check("check_before")

    @contextmanager
    def _part(self, name: str) -> Iterator[None]:
        """One part of what is measured (gpu.PARTS). Ranks meet outside of DeepEP while the first one of a
        host asks nvidia-smi: inside they would hold Python's lock, and be taken for dead if it is slow."""
        with self._watch.part(name):
            store.wait_for_all(self._store, self._world, f"{name} begins")
            yield
            store.wait_for_all(self._store, self._world, f"{name} ends")
        store.wait_for_all(self._store, self._world, f"{name} was watched")

    def _compare(
        self, mode: Mode, times: dict[str, list[float]], before: dict[str, Checked], after: dict[str, Checked]
    ) -> list[Measurement]:
        """Check, time and check the baselines; the results are added to what is given."""
        self._phase("baselines")
        baselines = Baselines(mode, self._backend.device_of_rank)
        with self._part("baselines"):
            before.update(baselines.check())
            measurements = baselines.measurements()
            for each in measurements:
                times[each.name] = self._time(each)
            after.update(baselines.check())
        baselines.release()
        return measurements

    def _links(self) -> list[float]:
        """Seconds of each round of the link probe; nothing where it is switched off."""
        if not self._config.probe_links or self._world.size < 2:
            return []
        self._phase("links")
        return link_probe.probe(
            self._config, self._world, self._backend.device_of_rank, lambda text: self._live.tick(text)
        )

    def _evidence(self, place: dict[str, Any]) -> dict[str, Any]:
        """Of this process, and of this host from its first rank."""
        world, device = self._world, self._backend.device
        pids = {
            int(pid)
            for pid in store.exchange(self._store, world, "pid", os.getpid())[
                world.rank - world.local_rank : world.rank - world.local_rank + world.local_size
            ]
        }
        uuids = {
            uuid for uuid in store.exchange(self._store, world, "gpu", evidence.gpu_uuid(device)) if uuid
        }
        found: dict[str, Any] = {
            "place": place,
            "libraries": evidence.loaded_libraries(),
            "profiler": profiler.around(),
        }
        if world.local_rank == 0:
            gpus = device.type == "cuda"
            found["conditions"] = self._watch.conditions(world.host, uuids, pids, expected=gpus)
            found["carried"] = self._watch.links.carried(uuids)
            found["rdma_ports"] = [port.to_json() for port in rdma_ports()]
            found["environment"] = evidence.environment()
        return found

    def _phase(self, name: str) -> None:
        self._faults.at(name)
        self._live.tick(name)
        self._progress.show(name)

    def _refuse_unless_equal(self) -> None:
        """Hosts that read different files would wait for each other for ever."""
        mine = {**asdict(self._config), "content of routing_trace": trace_digest(self._config)}
        everybody = store.gather(self._store, self._world, "config", [self._world.host, mine])
        for host, config in everybody:
            if config != everybody[0][1]:
                keys = [key for key in config if config[key] != everybody[0][1][key]]
                raise RefusedError(
                    f"host {host} and host {everybody[0][0]} were given different {', '.join(keys)}"
                )

    def _compare_versions(self) -> None:
        """Once all libraries are loaded."""
        mine = [self._world.host, evidence.versions(self._backend)]
        everybody = store.gather(self._store, self._world, "versions", mine)
        if everybody:
            self._differences = evidence.refuse_unless_same(everybody)

    def _time(self, measurement: Measurement) -> list[float]:
        """Seconds of each operation of the timed iterations."""
        timer = TIMERS[measurement.timing]
        name = measurement.name
        times: list[float] = []
        measurement.prepare()
        for phase, iterations in (
            ("warmup", self._config.num_warmups),
            ("timing", self._config.num_iterations),
        ):

            def before_each(number: int, phase: str = phase, iterations: int = iterations) -> None:
                if number == min(2, iterations // 2):
                    self._faults.at(phase)
                self._live.tick(f"{phase} {name} {number + 1}/{iterations}")
                self._progress.show(phase, name, number, iterations)

            def align() -> None:
                self._backend.device_of_rank.align(measurement.hide_host)

            self._progress.show(phase, name, 0, iterations)
            with profiler.named(self._backend.device, f"{phase} {name}"):
                times = measure(measurement.call, timer, align, iterations, before_each)
        return [seconds / measurement.calls for seconds in times]

    def _write(self, mine: report.RankReport, measurements: list[Measurement], mode: Mode) -> None:
        world, config = self._world, self._config
        write_json(self._output / "ranks" / f"rank-{world.rank:04d}.json", mine.to_json())
        everybody = store.gather(self._store, world, "report", mine.to_json())
        if world.rank:
            return
        ranks = [report.RankReport.from_json(value) for value in everybody]
        stamp = os.environ.get("DEEPEP_STAMP") or time.strftime("%Y%m%d_%H%M%S")
        name = f"benchmark_{world.size}_ranks_{stamp}_{config.mode}"
        self._live.tick("rows between ranks")
        rows = rows_between_ranks(config, mode.reference.routings)
        about = report.Circumstances(
            config=config,
            world=world,
            result_dir=f"results/{name}",
            versions=evidence.versions(self._backend),
            notes=[
                *report.notes(config, self._backend, self._faults.text, report.marks(ranks, [])),
                *self._differences,
                *affinity.notes([(rank.rank, rank.evidence["place"]) for rank in ranks]),
            ],
            measurements=measurements,
            routings=mode.reference.routings,
            rows=rows,
        )
        results = report.records(about, self._backend, ranks, self._live.tick)
        folder = self._output / "results" / name
        self._live.tick("files")
        write_text(folder / "token_matrix.txt", matrix.token_matrix(mode.reference.routings))
        write_text(folder / "token_matrix_kb.txt", matrix.token_matrix_kb(rows, dispatch_row_bytes(config)))
        if not self._backend.stand_in:
            write_json(folder / "evidence.json", report.evidence(about, self._backend, ranks))
        if all(rank.links for rank in ranks):
            group = "nccl" if self._backend.device.type == "cuda" else "gloo"
            rounds, hosts = [rank.links for rank in ranks], [rank.host for rank in ranks]
            write_json(folder / "links.json", link_probe.links_json(config, world, hosts, rounds, group))
        if self._tuning is not None:
            write_json(folder / "tuning.json", self._tuning.to_json())
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
