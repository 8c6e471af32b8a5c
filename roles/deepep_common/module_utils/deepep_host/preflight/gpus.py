"""What ``nvidia-smi -q -x``, ``nvlink -s`` and ``topo -m`` say, as values. Pure functions over their outputs.

Names in the XML differ by driver: ``clocks_throttle_reasons`` became ``clocks_event_reasons`` (535),
``power_readings`` became ``gpu_power_readings`` (535); Ampere counts ECC by DRAM and SRAM, older ones in all.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from typing import NamedTuple

_HARMLESS = ("gpu_idle", "none", "applications_clocks_setting", "display_clocks_setting", "sync_boost")
_NOT_HARDWARE = ("sw_power_cap",)
_ANSI = re.compile("\x1b\\[[0-9;]*m")
_NEAR = ("PIX", "PXB", "PHB", "NODE", "SYS")
_LOST = re.compile(
    r"device handle for GPU\s*\d*:?\s*([0-9A-Fa-f]{4,8}:[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.\d): *(.+)"
)


class Process(NamedTuple):
    """A process that holds GPU memory. ``kind``: C for compute, G for graphics."""

    pid: int
    kind: str
    name: str
    memory_mib: int | None


class Gpu(NamedTuple):
    """One GPU as the driver sees it; None where the driver does not say."""

    number: int
    name: str
    uuid: str
    bus: str
    persistence: bool | None
    mig: bool
    recovery: str | None
    volatile_uncorrected: int | None
    aggregate_uncorrected: int | None
    pending: tuple[str, ...]
    """What waits for a reset: ``row remap``, ``page retirement``, ``channel repair``."""
    broken: tuple[str, ...]
    """What no reset repairs: ``row remap failed``, ``unrepairable memory``, ``SRAM threshold exceeded``."""
    throttled: tuple[str, ...]
    """Active reasons that slow it down, in the driver's words."""
    application_clock: int | None
    maximum_clock: int | None
    power_limit: float | None
    power_default: float | None
    memory_used: int | None
    memory_total: int | None
    processes: tuple[Process, ...]
    fabric_state: str | None
    fabric_status: str | None
    fabric_degraded: bool
    cluster: str | None
    clique: str | None
    pcie: tuple[int | None, int | None, int | None, int | None]
    """PCIe generation and width: current, largest."""


class Answer(NamedTuple):
    """What nvidia-smi said of all GPUs."""

    driver: str | None
    cuda: str | None
    gpus: tuple[Gpu, ...]


def parse_smi(text: str) -> Answer | None:
    """Returns what ``nvidia-smi -q -x`` says; None where it is no such output."""
    start, end = text.find("<nvidia_smi_log"), text.rfind("</nvidia_smi_log>")
    if start < 0 or end < 0:
        return None
    try:
        root = ET.fromstring(text[start : end + len("</nvidia_smi_log>")])  # noqa: S314 - nvidia-smi's own
    except ET.ParseError:
        return None
    gpus = tuple(_gpu(number, node) for number, node in enumerate(root.findall("gpu")))
    return Answer(_text(root, "driver_version"), _text(root, "cuda_version"), gpus)


def lost(text: str) -> list[tuple[str, str]]:
    """Returns (PCI address, what the driver says) of GPUs that nvidia-smi could not talk to."""
    return [(short_bus(bus), why.strip().rstrip(".")) for bus, why in _LOST.findall(text)]


def short_bus(bus: str) -> str:
    """Returns a PCI address as sysfs has it: four digits of domain, lower case."""
    domain, _, rest = bus.partition(":")
    return f"{domain[-4:]}:{rest}".lower()


def _gpu(number: int, node: ET.Element) -> Gpu:
    ecc = node.find("ecc_errors")
    reasons = _first(node, "clocks_event_reasons", "clocks_throttle_reasons")
    power = _first(node, "gpu_power_readings", "power_readings")
    pending = [
        name
        for path, name in (
            ("remapped_rows/remapped_row_pending", "row remap"),
            ("retired_pages/pending_retirement", "page retirement"),
            ("ecc_errors/channel_repair_pending", "channel repair"),
            ("ecc_errors/tpc_repair_pending", "TPC repair"),
        )
        if _text(node, path) == "Yes"
    ]
    broken = [
        name
        for path, name in (
            ("remapped_rows/remapped_row_failure", "row remap failed"),
            ("ecc_errors/unrepairable_memory", "unrepairable memory"),
            ("ecc_errors/aggregate/sram_threshold_exceeded", "SRAM error threshold exceeded"),
        )
        if _text(node, path) == "Yes"
    ]
    link = "pci/pci_gpu_link_info/"
    uuid = _text(node, "fabric/clusterUuid")
    return Gpu(
        number=number,
        name=_text(node, "product_name") or "unknown",
        uuid=_text(node, "uuid") or "",
        bus=short_bus(node.get("id") or _text(node, "pci/pci_bus_id") or ""),
        persistence=_switch(_text(node, "persistence_mode")),
        mig=_text(node, "mig_mode/current_mig") == "Enabled",
        recovery=_text(node, "gpu_recovery_action"),
        volatile_uncorrected=_uncorrected(ecc, "volatile"),
        aggregate_uncorrected=_uncorrected(ecc, "aggregate"),
        pending=tuple(pending),
        broken=tuple(broken),
        throttled=tuple(_throttled(reasons)),
        application_clock=_integer(_text(node, "applications_clocks/graphics_clock")),
        maximum_clock=_integer(
            _text(node, "max_customer_boost_clocks/graphics_clock")
            or _text(node, "default_applications_clocks/graphics_clock")
        ),
        power_limit=_number(_text(power, "current_power_limit") or _text(power, "power_limit")),
        power_default=_number(_text(power, "default_power_limit")),
        memory_used=_integer(_text(node, "fb_memory_usage/used")),
        memory_total=_integer(_text(node, "fb_memory_usage/total")),
        processes=tuple(_process(item) for item in node.findall("processes/process_info")),
        fabric_state=_text(node, "fabric/state"),
        fabric_status=_text(node, "fabric/status"),
        fabric_degraded=_text(node, "fabric/health/bandwidth") not in (None, "Full"),
        cluster=uuid if uuid and uuid.strip("0-") else None,
        clique=_text(node, "fabric/cliqueId"),
        pcie=(
            _integer(_text(node, f"{link}pcie_gen/current_link_gen")),
            _integer(_text(node, f"{link}link_widths/current_link_width")),
            _integer(_text(node, f"{link}pcie_gen/max_link_gen")),
            _integer(_text(node, f"{link}link_widths/max_link_width")),
        ),
    )


def _first(node: ET.Element, *names: str) -> ET.Element | None:
    return next((found for found in (node.find(name) for name in names) if found is not None), None)


def _text(node: ET.Element | None, path: str) -> str | None:
    found = (node.findtext(path) if node is not None else None) or ""
    return (
        None
        if found.strip() in ("", "N/A", "[N/A]", "Requested functionality has been deprecated")
        else found.strip()
    )


def _switch(text: str | None) -> bool | None:
    return None if text is None else text == "Enabled"


def _integer(text: str | None) -> int | None:
    number = _number(text)
    return None if number is None else int(number)


def _number(text: str | None) -> float | None:
    match = re.match(r"-?\d+(?:\.\d+)?", text or "")
    return float(match.group()) if match else None


def _uncorrected(ecc: ET.Element | None, kind: str) -> int | None:
    group = ecc.find(kind) if ecc is not None else None
    if group is None:
        return None
    counts = [_integer(item.text) for item in group if "uncorrectable" in item.tag]
    total = _integer(_text(group, "double_bit/total"))
    known = [count for count in [*counts, total] if count is not None]
    return sum(known) if known else None


def _throttled(reasons: ET.Element | None) -> Iterable[str]:
    for item in reasons if reasons is not None else ():
        name = re.sub(r"^clocks_(event|throttle)_reasons?_", "", item.tag)
        if (item.text or "").strip() == "Active" and name not in (*_HARMLESS, *_NOT_HARDWARE):
            yield name.replace("_", " ")


def _process(node: ET.Element) -> Process:
    return Process(
        _integer(_text(node, "pid")) or 0,
        _text(node, "type") or "C",
        _text(node, "process_name") or "unknown",
        _integer(_text(node, "used_memory")),
    )


class Links(NamedTuple):
    """NVLinks of one GPU: how many are up, how many are not, and what the ones that are up carry, in GB/s."""

    active: int
    inactive: int
    gb_s: float


def parse_nvlink(text: str) -> dict[int, Links]:
    """Returns the links by GPU as ``nvidia-smi nvlink -s`` lists them; a GPU without links is absent."""
    found: dict[int, list[float]] = {}
    gpu = -1
    for line in text.splitlines():
        head = re.match(r"GPU (\d+):", line)
        if head:
            gpu = int(head.group(1))
            continue
        link = re.match(r"\s+Link \d+: (?:([\d.]+) GB/s|<inactive>)", line)
        if link and gpu >= 0:
            found.setdefault(gpu, []).append(float(link.group(1) or 0))
    return {
        number: Links(sum(rate > 0 for rate in rates), sum(rate == 0 for rate in rates), sum(rates))
        for number, rates in found.items()
    }


class Topology(NamedTuple):
    """How GPUs reach each other and the network adapters: ``NV18``, ``PIX``, ``SYS`` and so on."""

    gpus: int
    between: Mapping[tuple[int, int], str]
    nics: Mapping[str, Mapping[int, str]]
    """Adapter -> GPU -> path."""


def parse_topology(text: str) -> Topology | None:
    """Returns what ``nvidia-smi topo -m`` says; None where it is no such output.

    Columns are separated by tabs; adapters are ``NIC0`` with their names in a legend, in older drivers the
    names themselves.
    """
    lines = _ANSI.sub("", text).splitlines()
    head = next((line for line in lines if line.startswith("\tGPU0")), None)
    if head is None:
        return None
    columns = [cell.strip() for cell in head.split("\t")[1:]]
    names = dict(re.findall(r"^\s+(NIC\d+): (\S+)", "\n".join(lines), re.MULTILINE))
    between: dict[tuple[int, int], str] = {}
    nics: dict[str, dict[int, str]] = {}
    gpus = sum(1 for name in columns if re.fullmatch(r"GPU\d+", name))
    for line in lines:
        row = re.match(r"GPU(\d+)\t", line)
        if not row:
            continue
        gpu = int(row.group(1))
        for column, cell in zip(columns, (cell.strip() for cell in line.split("\t")[1:])):
            peer = re.fullmatch(r"GPU(\d+)", column)
            if peer:
                between[gpu, int(peer.group(1))] = cell
            elif cell in _NEAR:
                nics.setdefault(names.get(column, column), {})[gpu] = cell
    return Topology(gpus, between, nics) if between else None


def propose_nics(topology: Topology, usable: Iterable[str]) -> dict[int, tuple[str, str]]:
    """Returns for each GPU the adapter to use and the path to it: the nearest that no other GPU has, if any.

    Pairs are given away from the nearest on; a GPU that finds all adapters taken shares its nearest one.
    """
    allowed = [name for name in topology.nics if name in set(usable)]
    pairs = sorted(
        (_NEAR.index(path), gpu, _natural(name), name)
        for name in allowed
        for gpu, path in topology.nics[name].items()
    )
    given: dict[int, tuple[str, str]] = {}
    taken: set[str] = set()
    for rank, gpu, _, name in pairs:
        if gpu not in given and name not in taken:
            given[gpu] = (name, _NEAR[rank])
            taken.add(name)
    for rank, gpu, _, name in pairs:
        given.setdefault(gpu, (name, _NEAR[rank]))
    return dict(sorted(given.items()))


def _natural(name: str) -> tuple[tuple[int, str], ...]:
    return tuple((int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name))
