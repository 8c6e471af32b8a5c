"""Which links carried the tokens: what they counted during the run against what must have crossed them.

``evidence.json`` has what each host's NVLinks and RDMA ports counted (``carried``), from before the first
call to after the last. What must have crossed them at least follows from the token matrix and the calls that
were made. Checks, baselines, DeepEP's own tests and the link probe come on top, and what the ports count for
others: so only a link speaks that lacks a good part of it, and only where nothing else contradicts it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from .codes import Reason, reason
from .counters import counters_name
from .evidence import Evidence
from .records import Results

NAMES = {"nvlink": "NVLink", "rdma": "RDMA"}

SHARE = 0.5
"""A link did not carry the tokens if it carried less than this share of them."""

LEAST_BYTES = 1e9
"""Of less than this nothing is said: small runs drown in what else crosses a link."""

FASTEST_PCIE = 64.0
"""GB/s in one direction, 16 lanes of PCIe 5: tokens that were faster between GPUs did cross NVLink."""

_FIGURES = {"nvlink": "wire_nvl_bw", "rdma": "wire_rdma_bw"}
_OTHER = {"nvlink": "rdma", "rdma": "nvlink"}
_SUPERCHIP = re.compile(r"\bG[BH]\d")
_REMEDIES = {
    "nvlink": "look at nvidia-smi topo -m and nvlink -s there, and at NCCL_P2P_DISABLE and NCCL_P2P_LEVEL",
    "rdma": "look at NCCL_IB_DISABLE, NCCL_NET and NCCL_IB_HCA, and for /dev/infiniband in the container",
}


def check_transport(evidence: Evidence, results: Results) -> tuple[list[Reason], list[str]]:
    """Returns which links did not carry what they should have, and notes on what cannot be told."""
    reasons: list[Reason] = []
    notes: list[str] = []
    if not evidence.bundled or results.directory is None or not results.records:
        return reasons, notes
    file = f"{results.directory}/evidence.json"
    hosts, carried = _carried(evidence.read_json(file))
    if len(hosts) != evidence.world_size or not carried:
        return reasons, notes
    matrix = _matrix(evidence, f"{results.directory}/token_matrix_kb.txt")
    if matrix is None:
        return reasons, notes
    for link, name in NAMES.items():
        if link == "rdma" and _one_nvlink_domain(evidence, results.records):
            continue
        for host, needed in least_bytes(link, results.records, matrix, hosts).items():
            counted = _counted(carried.get(host, {}).get(link))
            if counted is None or needed < LEAST_BYTES or counted >= SHARE * needed:
                continue
            text = (
                f"{host}: {name} carried {counted / 1e9:.3g} GB of {needed / 1e9:.3g} GB that had to cross it"
            )
            if link == "nvlink" and _faster_than_pcie(results.records):
                notes.append(f"{text}, but nothing else is as fast: its counters do not tell")
            elif not counted and not _ever_counted(evidence, link, host, carried[host]):
                notes.append(f"{text}, but its ports never counted anything: what carried it is not known")
            else:
                text = f"{text}: the tokens went another way"
                reasons.append(reason("link-unused", text, file, host=host, remedy=_REMEDIES[link]))
    return reasons, notes


def least_bytes(
    link: str, records: Sequence[Mapping[str, Any]], matrix: Sequence[Sequence[float]], hosts: Sequence[str]
) -> dict[str, float]:
    """Returns what must have crossed a link of each host at least: bytes, sent and received together.

    ``matrix`` is the data of one dispatch from each rank (row) to each other one (column) in any unit, own
    share included; ``hosts`` is each rank's. Whether an operation used the link is what its record says.
    """
    inside, outside = _shares(matrix, hosts)
    found = dict.fromkeys(inside, 0.0)
    for record in records:
        moved = record.get("bytes")
        total = _positive(moved.get("global")) if isinstance(moved, dict) else 0.0
        if record.get("baseline") is True or not _positive(record.get(_FIGURES[link])):
            continue
        alone = not _positive(record.get(_FIGURES[_OTHER[link]]))
        for host in found:
            if link == "nvlink":
                # Without RDMA, NVLink connects the hosts too.
                share = inside[host] + (outside[host] if alone else 0.0)
            else:
                # An adapter does not count what two ranks that share it send each other.
                share = outside[host]
                if record.get("mode") == "standard":
                    # A token may cross the network once for all ranks of a host.
                    share /= hosts.count(host)
            found[host] += share * total * _calls(record)
    return found


def _shares(
    matrix: Sequence[Sequence[float]], hosts: Sequence[str]
) -> tuple[dict[str, float], dict[str, float]]:
    """Returns what each host sends and receives as a share of all data: inside it, and from and to others.

    What stays on its rank crosses nothing.
    """
    total = sum(map(sum, matrix)) or 1.0
    inside, outside = dict.fromkeys(hosts, 0.0), dict.fromkeys(hosts, 0.0)
    for source, row in enumerate(matrix):
        for destination, data in enumerate(row):
            if source == destination:
                continue
            one, other = hosts[source], hosts[destination]
            if one == other:
                inside[one] += 2 * data / total  # one of its GPUs sends it, another receives it
            else:
                outside[one] += data / total
                outside[other] += data / total
    return inside, outside


def _calls(record: Mapping[str, Any]) -> float:
    """Returns how often an operation ran, timed or to warm up; a CUDA graph holds several calls."""
    times, warmed = record.get("time_s"), _positive(record.get("num_warmups"))
    timed, total = _positive(record.get("num_iterations")), _positive(record.get("total_time"))
    mean = _positive(times.get("mean")) if isinstance(times, dict) else 0.0
    if not timed or not mean or not total:
        return 0.0
    return max(1, round(total / (mean * timed))) * (timed + warmed)


def _carried(told: Any) -> tuple[list[str], dict[str, Mapping[str, Any]]]:
    """Returns each rank's host, and what each host's links counted."""
    ranks = told.get("ranks") if isinstance(told, dict) else None
    if not isinstance(ranks, list) or not all(isinstance(rank, dict) for rank in ranks):
        return [], {}
    found = {str(rank.get("host")): rank.get("carried") for rank in ranks if rank.get("carried")}
    return [str(rank.get("host")) for rank in ranks], {
        host: counted for host, counted in found.items() if isinstance(counted, dict)
    }


def _counted(value: Any) -> float | None:
    """Returns the bytes that a link sent and received, None where nobody knows (or a counter was reset)."""
    ends = [value.get(key) for key in ("sent_bytes", "received_bytes")] if isinstance(value, dict) else []
    if len(ends) != 2 or not all(isinstance(end, int) and end >= 0 for end in ends):
        return None
    return float(sum(ends))


def _one_nvlink_domain(evidence: Evidence, records: Sequence[Mapping[str, Any]]) -> bool:
    """Whether NVLink may connect the hosts, so that NCCL or DeepEP needs no RDMA."""
    config = evidence.run["config"]
    return bool(config.get("allow_mnnvl")) or any(_SUPERCHIP.search(str(one.get("gpu"))) for one in records)


def _faster_than_pcie(records: Sequence[Mapping[str, Any]]) -> bool:
    own = (record.get("wire_nvl_bw") for record in records if record.get("baseline") is not True)
    return any(_positive(value) > FASTEST_PCIE for value in own)


def _ever_counted(evidence: Evidence, link: str, host: str, carried: Mapping[str, Any]) -> bool:
    """Whether a host's ports have ever counted data: those of a virtual function may not."""
    if link == "nvlink":
        # Since the machine's start, where the program tells: a virtual machine may see zeros for ever.
        return bool(carried.get("nvlink_ever_bytes") != 0)
    value = evidence.read_json(counters_name(host))
    after = value.get("after") if isinstance(value, dict) else None
    if not isinstance(after, dict):
        return False
    return any(
        count for name, count in after.items() if str(name).endswith(("port_xmit_data", "port_rcv_data"))
    )


def _matrix(evidence: Evidence, name: str) -> list[list[float]] | None:
    """Returns the token matrix, None where it is missing or of another shape."""
    try:
        lines = (evidence.run_dir / name).read_text(encoding="ascii").splitlines()
        rows = [[float(cell) for cell in line.split()] for line in lines if line.strip() and line[:1] != "#"]
    except (OSError, ValueError):
        return None
    size = evidence.world_size
    return rows if len(rows) == size and all(len(row) == size for row in rows) else None


def _positive(value: Any) -> float:
    """Returns a number above 0, else 0."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0
    return float(value) if number else 0.0
