"""When a rank gives its store up: not for a silence that its own patience explains."""

import tempfile
import threading
import time
import unittest
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch.distributed as dist
from deepep_bench.liveness import Liveness
from worlds import config, world

INTERVAL_S = 0.1


class SlowRound:
    """A client of a real store. One round after ``arm`` is as after a long freeze: late, and slow."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self._armed = self._slow = False
        self.live: Any = None
        self.begun, self.ended = threading.Event(), threading.Event()

    def arm(self) -> None:
        self._armed = True

    def set(self, key: str, value: str) -> None:
        if self._armed:
            self._armed, self._slow = False, True
            self.live._answered_at -= 100
            self.begun.set()
            time.sleep(5 * INTERVAL_S)
        self._store.set(key, value)

    def check(self, keys: list) -> bool:
        if self._slow:
            self._slow = False
            time.sleep(10 * INTERVAL_S)  # guard looks meanwhile
            self.ended.set()
        return bool(self._store.check(keys))

    def get(self, key: str) -> bytes:
        return bytes(self._store.get(key))


class Patience(unittest.TestCase):
    def test_it_ends_only_once_the_store_has_answered_again(self) -> None:
        server = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        client = dist.TCPStore(
            "127.0.0.1", server.port, wait_for_workers=False, timeout=timedelta(seconds=60)
        )
        store = SlowRound(client)
        alone = replace(world(size=1, local_size=1), master_port=server.port)
        given = config(heartbeat_interval_s=INTERVAL_S, heartbeat_timeout_s=60.0)
        with tempfile.TemporaryDirectory() as folder:
            live = store.live = Liveness(alone, given, Path(folder), lambda *_, **__: store)
            live.start()
            with live.patient():
                store.arm()
                self.assertTrue(store.begun.wait(60))
            # Had it ended before, guard would have ended this process.
            self.assertTrue(store.ended.is_set())
            live.finish()


if __name__ == "__main__":
    unittest.main()
