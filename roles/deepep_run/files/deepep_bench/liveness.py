"""Ends all ranks within seconds when one is dead, silent or stuck.

Two threads beside the main one, which may hang in a kernel or a collective:

* *beat* (with a store client of its own) publishes this rank's heartbeat and progress, looks for the abort
  key, and watches two other ranks: the next one and the one in the same place on the next host, so that
  every rank, and every host as a whole, is watched whatever else is lost.
* *guard* asks nobody. It notices when beat itself got no answer (the store or its host is lost) and SIGTERM.

Neither runs while the main thread keeps Python's lock in a library; a process beside the rank (sentinel.py),
to which guard reports, ends the rank then. Other sentinels tell it what the store cannot meanwhile.

The first failure claims the abort key with its rank, host and text; everybody else reports itself as its
consequence. All ends go through os._exit, since a hung thread cannot be asked to return. Where somebody hangs
or is lost, each rank first shows where it stands (witness.py).
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import sys
import threading
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Iterator, NoReturn

from . import exit_codes, witness
from .config import Config
from .errors import RefusedError, WrongDataError
from .plain import say
from .sentinel import Sentinel
from .store import connect
from .world import World

_ABORT = "live/abort"
_LOST = "lost"  # the kind of a failure that is no exception: a rank hangs, or is gone
_LONGEST_TEXT = 2000
_SUSPECT_S = 3.0  # how long a rank may be silent once a collective has failed here


def _beat_key(rank: int) -> str:
    return f"live/beat/{rank}"


def _sentinel_key(rank: int) -> str:
    return f"live/sentinel/{rank}"


@dataclass
class _Seen:
    """What is known of a watched rank."""

    value: bytes = b""
    at: float = 0.0
    beat: dict[str, Any] = field(default_factory=dict)


class Liveness:
    """Start before the process group; ``finish`` when all is done, or ``fail`` with the exception."""

    def __init__(
        self, world: World, config: Config, folder: Path, connect_store: Callable[..., Any] = connect
    ) -> None:
        """:param folder: the run's own, on this host"""
        self._world = world
        self._folder = folder
        self._interval = config.heartbeat_interval_s
        self._timeout = config.heartbeat_timeout_s
        self._stall = config.stall_s
        self._connect_timeout = config.process_group_timeout_s
        self._connect = connect_store
        self._stop = threading.Event()
        self._ended = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._sentinel: Sentinel | None = None
        # what the main thread writes and the others read
        self._step = 0
        self._step_at = time.monotonic()
        self._doing = "start"
        self._state = "running"  # running, failing, terminated, done
        self._suspicious = False
        self._patience = 0.0
        # what beat writes and the others read
        self._beats = 0
        self._rounds = 0
        self._answered_at = time.monotonic()
        self._connected = False
        self._first_beat = threading.Event()
        self._seen: dict[int, _Seen] = {}

    # ---- for the main thread

    def start(self) -> None:
        """Take SIGTERM over and start the threads."""
        signal.signal(signal.SIGTERM, lambda *_: None)
        self._sentinel = Sentinel(self._world, self._timeout, self._interval, self._folder)
        for target in (self._beat, self._guard):
            thread = threading.Thread(
                target=target, args=(self._sentinel,), name=target.__name__, daemon=True
            )
            thread.start()
            self._threads.append(thread)
        # who has passed its start can be missed from then on
        if not self._first_beat.wait(self._connect_timeout):
            raise RuntimeError(f"no answer from the store within {self._connect_timeout:g} s")

    def tick(self, doing: str) -> None:
        """The main thread is alive and about to do this."""
        self._step += 1
        self._step_at = time.monotonic()
        self._doing = doing

    @contextlib.contextmanager
    def patient(self, at_most_s: float | None = None) -> Iterator[None]:
        """The main thread may keep all others from running: DeepEP compiles with Python's lock held.

        All ranks hear of it first; silence then counts only after the time without progress that is allowed,
        or ``at_most_s`` where that is less.
        """
        self._patience = self._stall if at_most_s is None else min(self._stall, at_most_s)
        if self._sentinel is not None:
            self._sentinel.beat(self._patience, self._doing)
        self._wait_for_beats(2)  # one may be under way that does not say it yet
        try:
            yield
        finally:
            self._wait_for_beats(1)  # beat was silent, too: it has to be heard before anybody counts again
            self._patience = 0.0

    def _wait_for_beats(self, number: int) -> None:
        """Until so many more are published and the store has answered a whole round since."""
        beats, rounds, end = self._beats + number, self._rounds, time.monotonic() + self._timeout
        while (self._beats < beats or self._rounds == rounds) and time.monotonic() < end:
            time.sleep(self._interval / 4)

    def finish(self) -> None:
        """All is done on every rank: silence means nothing from now on."""
        self._state = "done"
        self._stop.set()
        sentinel = self._sentinel
        if sentinel is not None:
            sentinel.wake()
        for thread in self._threads:
            thread.join(timeout=self._timeout)
        if sentinel is not None:
            sentinel.close()

    def fail(self, error: BaseException, advice: str = "") -> NoReturn:
        """Publish the exception as the first failure, or report whose consequence it is; then exit.

        Nothing is destroyed before: DeepEP's ``destroy`` waits for all ranks, up to 100 s, with Python's lock
        held, and the others do not come. The end of the process frees the GPU and the network.
        """
        code = code_of(error)
        own = code in (exit_codes.WRONG_DATA, exit_codes.REFUSED, exit_codes.OUT_OF_MEMORY)
        if not own and _may_be_a_consequence(error):
            # a broken connection says that somebody else failed; beat exits once it knows who
            self._say(f"{_one_line(error)}; asking the store who failed first")
            self._suspicious = True
            time.sleep(max(min(self._timeout, _SUSPECT_S), 2 * self._interval) + 4 * self._interval)
        self._state = "failing"
        text = str(error) if own else f"{type(error).__name__}: {error}"
        first = self._claim({"kind": type(error).__name__, "text": text, "exit_code": code})
        if first is not None and first["rank"] != self._world.rank:
            self._end_as_consequence(first)
        if own:
            self._say(f"refused: {text}" if code == exit_codes.REFUSED else text)
        else:
            self._say("".join(traceback.format_exception(type(error), error, error.__traceback__)).rstrip())
        if code == exit_codes.OUT_OF_MEMORY and advice:
            self._say(advice)
        # time for the others to read the key before this host's launcher, perhaps with the store, goes away
        time.sleep(max(1.0, 3 * self._interval))
        self._exit(code)

    # ---- beat

    def _beat(self, sentinel: Sentinel) -> None:
        try:
            store = self._connect(self._world, self._connect_timeout, serve=False)
            self._answered_at, self._connected = time.monotonic(), True
            store.set(_sentinel_key(self._world.rank), json.dumps(sentinel.address))
            strangers = self._watched()
            self._publish(store)
            self._first_beat.set()
            while not self._stop.wait(self._interval):
                self._publish(store)
                strangers = [rank for rank in strangers if not _introduced(store, sentinel, rank)]
                self._look_for_abort(store)
                self._watch(store)
                self._look_for_stall(store)
                self._answered_at = time.monotonic()
                self._rounds += 1
            self._publish(store)
        except Exception as error:  # whatever torch raises: without the store there is nothing to hold on to
            if not self._stop.is_set():
                self._store_lost(str(error).split("\n", 1)[0])

    def _publish(self, store: Any) -> None:
        beat = {
            "number": self._beats,
            "patience": self._patience,
            "state": self._state,
            "step": self._step,
            "doing": self._doing,
            "host": self._world.host,
        }
        store.set(_beat_key(self._world.rank), json.dumps(beat))
        self._beats += 1

    def _look_for_abort(self, store: Any) -> None:
        if store.check([_ABORT]):
            first = json.loads(store.get(_ABORT))
            if first["rank"] != self._world.rank or self._state != "failing":
                self._end_as_consequence(first)

    def _watch(self, store: Any) -> None:
        now = time.monotonic()
        for rank in self._watched():
            seen = self._seen.get(rank)
            if seen is None:
                if not store.check([_beat_key(rank)]):
                    continue  # not started yet: rendezvous and process group have their timeouts
                seen = self._seen[rank] = _Seen()
            value = store.get(_beat_key(rank))
            if value != seen.value:
                self._seen[rank] = _Seen(value, now, json.loads(value))
                continue
            silent = now - seen.at
            limit = (
                min(self._timeout, max(_SUSPECT_S, 4 * self._interval)) if self._suspicious else self._timeout
            )
            limit += seen.beat["patience"]
            if seen.beat["state"] == "terminated":
                limit *= 2  # its launcher ended it for a reason: first look for that one
            if seen.beat["state"] == "done" or silent <= limit:
                continue
            how = "was ended by its launcher" if seen.beat["state"] == "terminated" else "is dead or frozen"
            text = f"silent for {silent:.1f} s: it {how}, or its host is lost (last: {seen.beat['doing']})"
            self._abort(store, exit_codes.PEER_LOST, rank, seen.beat["host"], text)

    def _watched(self) -> list[int]:
        world = self._world
        others = {(world.rank + 1) % world.size, (world.rank + world.local_size) % world.size}
        return sorted(others - {world.rank})

    def _look_for_stall(self, store: Any) -> None:
        if time.monotonic() - self._step_at <= self._stall or self._state != "running":
            return
        time.sleep(2 * self._interval)  # so that everybody's last step is published
        beats = {}
        for rank in range(self._world.size):
            if store.check([_beat_key(rank)]):
                beats[rank] = json.loads(store.get(_beat_key(rank)))
        for rank in range(self._world.size):
            if rank not in beats:
                self._abort(
                    store, exit_codes.PEER_LOST, rank, "unknown", f"did not start within {self._stall:g} s"
                )
        steps = {rank: beat["step"] for rank, beat in beats.items()}
        behind = [rank for rank, step in steps.items() if step == min(steps.values())]
        if len(behind) < len(steps):
            rank = behind[0]
            text = f"no progress for {self._stall:g} s, others wait for it (last: {beats[rank]['doing']})"
            self._abort(store, exit_codes.PEER_LOST, rank, beats[rank]["host"], text)
        text = f"no rank made progress for {self._stall:g} s (all of them: {self._doing})"
        self._abort(store, exit_codes.STALLED, self._world.rank, self._world.host, text)

    def _abort(self, store: Any, code: int, rank: int, host: str, text: str) -> NoReturn:
        failure = {"rank": rank, "host": host, "kind": _LOST, "text": text, "exit_code": code}
        first = _claim(store, failure)
        if first != failure:
            self._end_as_consequence(first)
        self._end(code, f"rank {rank} on host {host}: {text}", show=True)

    # ---- guard

    def _guard(self, sentinel: Sentinel) -> None:
        while not self._stop.is_set():
            sentinel.beat(self._patience, self._doing)
            ready, _, _ = select.select([sentinel.signals], [], [], self._interval)
            caught = os.read(sentinel.signals, 64) if ready else b""
            if ready and not caught:
                self._stop.wait(self._interval)  # it was killed: the ranks still watch each other
            if signal.SIGTERM in caught and self._state != "failing":  # a failing rank ends soon by itself
                self._state = "terminated"
                # beat publishes that and finds the abort key, if there is one
                time.sleep(3 * self._interval)
                self._end(exit_codes.TERMINATED, f"ended by SIGTERM from its launcher during {self._doing}")
            # patience may begin or end between the two looks, before or after a long silence
            patience = self._patience
            silent = time.monotonic() - self._answered_at
            if self._connected and silent > self._timeout + max(patience, self._patience):
                self._store_lost(f"no answer for {silent:.1f} s")

    # ---- ends

    def _claim(self, failure: dict[str, Any]) -> dict[str, Any] | None:
        """The first failure, which is this one unless another rank was faster; None without a store.

        On a thread, since a lost store may never answer.
        """
        world = self._world
        result: list[dict[str, Any]] = []
        failure = dict(failure, rank=world.rank, host=world.host, text=failure["text"][:_LONGEST_TEXT])

        def claim() -> None:
            try:
                result.append(_claim(self._connect(world, self._timeout, serve=False), failure))
            except Exception as error:  # the message below says it; the exception itself is still printed
                self._say(f"the store is lost, others cannot be told: {str(error).splitlines()[0]}")

        thread = threading.Thread(target=claim, daemon=True)
        thread.start()
        thread.join(timeout=self._timeout)
        return result[0] if result else None

    def _store_lost(self, why: str) -> NoReturn:
        world = self._world
        last = [
            f"rank {rank} on host {seen.beat['host']} {seen.beat['state']}, last heard "
            f"{time.monotonic() - seen.at:.1f} s ago"
            for rank, seen in self._seen.items()
            if seen.beat
            and (seen.beat["state"] != "running" or time.monotonic() - seen.at > 2 * self._interval)
        ]
        known = f"; {'; '.join(last)}" if last else ""
        self._end(
            exit_codes.STORE_LOST,
            f"lost the store at {world.master_addr}:{world.master_port} (rank 0's host, its launcher or the "
            f"network to it is gone): {why}{known}",
            show=True,
        )

    def _end_as_consequence(self, first: dict[str, Any]) -> NoReturn:
        lost = first["kind"] == _LOST
        if first["rank"] == self._world.rank:
            self._end(first["exit_code"], f"given up by the other ranks: {first['text']}", show=lost)
        self._end(
            exit_codes.CONSEQUENCE,
            f"consequence of rank {first['rank']} on host {first['host']}: {first['text']}",
            show=lost,
        )

    def _end(self, code: int, message: str, show: bool = False) -> NoReturn:
        with self._ended:  # never released: one end per process
            self._say(message)
            if show:
                witness.show(self._folder, self._world.rank)
            self._exit(code)

    def _exit(self, code: int) -> NoReturn:
        sys.stdout.flush()
        sys.stderr.flush()
        # what libraries printed in C is lost otherwise: DeepEP tells there why a kernel could not be compiled
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).fflush(None)
        os._exit(code)

    def _say(self, text: str) -> None:
        say(self._world.rank, text)


def code_of(error: BaseException) -> int:
    """The exit code that an exception stands for."""
    if isinstance(error, WrongDataError):
        return exit_codes.WRONG_DATA
    if isinstance(error, RefusedError):
        return exit_codes.REFUSED
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return exit_codes.OUT_OF_MEMORY
    if isinstance(error, RuntimeError) and any(
        sign in str(error).lower() for sign in ("you tried to allocate", "out of memory")
    ):
        return exit_codes.OUT_OF_MEMORY  # torch on CPUs; DeepEP's and NCCL's own allocations
    return exit_codes.FAILED


def _may_be_a_consequence(error: BaseException) -> bool:
    if type(error).__name__.startswith("Dist") or isinstance(error, (ConnectionError, TimeoutError)):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(
        sign in text
        for sign in ("connection", "peer", "timed out", "timeout", "gloo", "nccl", "broken pipe", "socket")
    )


def _introduced(store: Any, sentinel: Sentinel, rank: int) -> bool:
    """Whether our sentinel knows where that of ``rank`` listens, or that it does not."""
    if not store.check([_sentinel_key(rank), _beat_key(rank)]):
        return False
    address = json.loads(store.get(_sentinel_key(rank)))
    if address is not None:
        sentinel.introduce(rank, json.loads(store.get(_beat_key(rank)))["host"], address)
    return True


def _claim(store: Any, failure: dict[str, Any]) -> dict[str, Any]:
    first: dict[str, Any] = json.loads(store.compare_set(_ABORT, "", json.dumps(failure)))
    return first


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".split("\n", 1)[0]
