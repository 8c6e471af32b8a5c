"""Delay, jitter and loss on a machine's cable: ``relay.py MACHINE DELAY_MS JITTER_MS LOSS``, on the switch.

``tc netem`` is missing from many kernels. Here packets pass a TAP pair between the machine's port and the
switch, where this process holds them back or drops them. SIGTERM takes the detour away.
"""

import fcntl
import heapq
import os
import random
import select
import signal
import struct
import subprocess
import sys
import time

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000


def tap(name: str) -> int:
    """Makes a TAP interface; returns its descriptor."""
    handle = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(handle, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TAP | IFF_NO_PI))
    return handle


def ip(*lines: str) -> None:
    """Runs ``ip`` commands as one batch."""
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines).encode(), check=True)


def main(name: str, delay_ms: float, jitter_ms: float, loss: float) -> None:
    """Relays until SIGTERM."""
    switch_side, machine_side = tap(f"ta-{name}"), tap(f"tb-{name}")
    ip(
        f"link add bd-{name} type bridge",
        f"link set bd-{name} up",
        f"link set ta-{name} master br0 up",
        f"link set tb-{name} master bd-{name} up",
        f"link set p-{name} master bd-{name}",
    )

    def undo(number: int, frame: object) -> None:
        ip(f"link set p-{name} master br0", f"link del bd-{name}")
        os._exit(0)

    signal.signal(signal.SIGTERM, undo)
    print("up", flush=True)
    waiting: list[tuple[float, int, int, bytes]] = []
    last = {switch_side: 0.0, machine_side: 0.0}
    count = 0
    while True:
        patience = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        for handle in select.select(list(last), [], [], patience)[0]:
            for _ in range(64):
                try:
                    frame = os.read(handle, 65536)
                except BlockingIOError:
                    break
                if random.random() < loss:  # noqa: S311 - no secret
                    continue
                other = machine_side if handle == switch_side else switch_side
                # A cable keeps the order.
                jitter = random.uniform(-jitter_ms, jitter_ms)  # noqa: S311 - no secret
                due = time.monotonic() + (delay_ms + jitter) / 1e3
                last[other] = due = max(last[other], due)
                count += 1
                heapq.heappush(waiting, (due, count, other, frame))
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            _, _, handle, frame = heapq.heappop(waiting)
            try:
                os.write(handle, frame)
            except OSError:
                continue


if __name__ == "__main__":
    main(sys.argv[1], *map(float, sys.argv[2:5]))
