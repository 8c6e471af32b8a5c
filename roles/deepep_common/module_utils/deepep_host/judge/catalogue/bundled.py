"""What this project's own benchmark and supervisor print."""

from __future__ import annotations

import re

from .model import Group, Signature

PROGRAM = Group(
    "This project's benchmark and supervisor",
    (
        Signature(
            "wrong-element",
            (b"wrong data after",),
            "an element of the result differs from the reference",
            "a faulty transport, GPU memory, or kernels and libraries that do not fit together",
            "do not use the figures; run again, then suspect the transport, the GPU's memory or the software",
            "deepep_bench/reference.py",
        ),
        Signature(
            "refused",
            (b"] refused: ",),
            "the program refused its configuration or its machine",
            "the configuration asks for what this machine or backend cannot do",
            "the line says what is not possible here",
            "deepep_bench/session.py",
            part="configuration",
        ),
        Signature(
            "peer-lost",
            (b" on host ", b"no rank made progress for "),
            "a rank died, froze or stopped making progress",
            "the rank's process or its host is gone, stopped, or hangs in a kernel",
            "look at the log of the host that the line names, and there for what ended the rank",
            "deepep_bench/liveness.py",
            re.compile(rb"\] rank \d+ on host \S+: |no rank made progress"),
            victim=True,
        ),
        Signature(
            "store-lost",
            (b"lost the store at ", b"the store is lost, "),
            "the first host, its launcher or the network to it is gone",
            "the first host holds the store over which ranks meet: it died, or cannot be reached any more",
            "look at the log of the first host",
            "deepep_bench/liveness.py",
            victim=True,
        ),
        Signature(
            "rank-frozen",
            (b", outside of Python (last: ",),
            "a rank waited in DeepEP or for its GPU until its sentinel ended it",
            "another rank did not come, or a kernel hangs; no thread of a rank runs while DeepEP waits",
            "look at what other ranks say first, and at the stacks above the line",
            "deepep_bench/sentinel.py",
            victim=True,
            suspect=re.compile(rb"^\[rank (?P<waited>\d+)\] frozen for "),
        ),
        Signature(
            "rank-stopped",
            (b", as by SIGSTOP (last: ",),
            "a rank was stopped",
            "somebody or something sent it SIGSTOP: a debugger, a batch system, a person",
            "look for who stopped it",
            "deepep_bench/sentinel.py",
            part="process",
        ),
        Signature(
            "supervisor-failed",
            (b"supervisor failed: ", b"ending what it left"),
            "the supervisor on a host ended before its run",
            "somebody killed it, or its host shut down",
            "look for who killed it; what it had started was ended",
            "deepep_host/supervisor.py",
            part="process",
        ),
    ),
)
