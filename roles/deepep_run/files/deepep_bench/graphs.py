"""Calls captured into a CUDA graph: replaying it takes the CPU's launches out of the time."""

from __future__ import annotations

from typing import Callable

import torch


class CapturedCalls:
    """``calls`` calls in one graph. What the last one returned is kept in ``result``; replays renew it."""

    def __init__(self, call: Callable[[], object], calls: int) -> None:
        self.calls = calls
        self.result: object = None
        self._graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        # thread_local: other threads of this process (the watchdog of NCCL) may go on using the device
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            for _ in range(calls):
                self.result = call()
        torch.cuda.synchronize()

    def replay(self) -> None:
        self._graph.replay()

    def reset(self) -> None:
        """Give up the graph and what it holds."""
        self.result = None
        self._graph.reset()
