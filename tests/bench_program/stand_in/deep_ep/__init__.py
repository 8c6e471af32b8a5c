"""A stand-in for the package deep_ep on machines without a GPU. It is not DeepEP.

It has the signatures of Buffer (V1) and ElasticBuffer (V2) as far as the benchmark program calls them, checks
their arguments as strictly as DeepEP does, and moves the rows through gloo. Rows come in another order than
they were sent in wherever DeepEP promises none. DEEPEP_STAND_IN=v1 leaves ElasticBuffer out, and old all that
came after May 2025. DEEPEP_STAND_IN_INDEX=32 is a build whose topk_idx is int32.
"""

from __future__ import annotations

import os

import torch.distributed as dist

from .elastic import ElasticBuffer, EPHandle  # noqa: F401
from .legacy import Buffer, Config, OldBuffer  # noqa: F401
from .moving import INDEX as topk_idx_t  # noqa: F401

STAND_IN = True
if os.environ.get("DEEPEP_STAND_IN") == "old":
    del ElasticBuffer
    Buffer = OldBuffer
    __version__ = "1.1.0"
elif os.environ.get("DEEPEP_STAND_IN") == "v1":
    del ElasticBuffer
else:
    __version__ = "2.1.0-stand-in"

assert dist.is_available()
