"""What each of Slurm's job states and pending reasons means for a run (Slurm 20.11 to 25.05)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

WAITS = "waits"
RUNS = "runs"
OVER = "over"


class Ending(NamedTuple):
    """What a final state makes of a host that left no end of its own: its outcome, and a remedy."""

    outcome: str
    meaning: str
    remedy: str = ""


ENDINGS: Mapping[str, Ending] = {
    "COMPLETED": Ending("exited", "the job script ended with 0"),
    "FAILED": Ending("lost", "the job script ended with an error"),
    "TIMEOUT": Ending("timeout", "the job reached its time limit in Slurm"),
    "CANCELLED": Ending("stopped", "the job was cancelled"),
    "NODE_FAIL": Ending("lost", "a host of the job failed", "ask the administrators about the host"),
    "OUT_OF_MEMORY": Ending(
        "lost", "a process of the job was killed for want of memory", "ask for all of it: --mem=0"
    ),
    "PREEMPTED": Ending("stopped", "the job was preempted by another", "use a QOS that is not preempted"),
    "BOOT_FAIL": Ending("start_failed", "a host of the job did not boot"),
    "DEADLINE": Ending("timeout", "the job could not end before its --deadline"),
    "LAUNCH_FAILED": Ending("start_failed", "Slurm could not launch the job on its hosts"),
    "RECONFIG_FAIL": Ending("start_failed", "a host could not be reconfigured for the job"),
    "REVOKED": Ending("stopped", "the job was revoked: another cluster of the federation has it"),
    "SPECIAL_EXIT": Ending("lost", "the job ended in the state SPECIAL_EXIT and was requeued"),
}  # fmt: skip
"""Every state from which a job does not come back, by its long name."""

WAITING = frozenset(
    {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "RESV_DEL_HOLD", "POWER_UP_NODE"}
)
RUNNING = frozenset(
    {"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "RESIZING", "STAGE_OUT", "UPDATE_DB",
     "EXPEDITING"}
)  # fmt: skip

_NEVER = (
    ("DependencyNeverSatisfied", "a job that this one depends on did not end as needed"),
    ("PartitionNodeLimit", "the partition does not allow so many hosts"),
    ("PartitionTimeLimit", "the time limit is above the partition's"),
    ("PartitionConfig", "the partition's configuration does not allow the job"),
    ("BadConstraints", "no host of the partition meets what the job asks for"),
    ("AccountNotAllowed", "the account may not use the partition"),
    ("AccountingPolicy", "an accounting policy forbids the job"),
    ("InvalidAccount", "the account does not exist"),
    ("InvalidQOS", "the QOS does not exist"),
    ("QOSNotAllowed", "the QOS may not be used here"),
    ("QOSTimeLimit", "the time limit is above the QOS's"),
    ("FedJobLock", "the job is locked in the federation"),
    ("NoReserv", "the reservation does not exist"),
    ("ReservationDeleted", "the reservation was deleted"),
    ("JobArrayTaskLimit", "a limit of array tasks holds the job"),
    ("launch failed requeued held", "Slurm could not launch the job on its hosts, and holds it"),
)
_NEVER_ENDINGS = ("PerJob", "PerJobLimit", "MaxWallDurationPerJobLimit")
_HELD = ("JobHeldUser", "JobHeldAdmin")
_PAST_TIMES = ("BeginTime",)


def phase_of(state: str) -> str:
    """Returns ``waits``, ``runs`` or ``over`` for a state's long name; what is unknown is watched."""
    word = state_word(state)
    if word in ENDINGS:
        return OVER
    return WAITS if word in WAITING else RUNS


def state_word(text: str) -> str:
    """Returns the state alone: sacct writes ``CANCELLED by 0`` and ``CANCELLED+``."""
    return text.split(" ")[0].rstrip("+")


def never_starts(reason: str) -> str | None:
    """Returns why a pending reason can never be met, None where waiting may help."""
    for name, meaning in _NEVER:
        if reason.replace("_", " ").lower() == name.replace("_", " ").lower():
            return meaning
    if reason.startswith(("Assoc", "QOS")) and reason.endswith(_NEVER_ENDINGS):
        return "a limit per job of the account or QOS is below what the job asks for"
    return None


def is_held(reason: str) -> bool:
    """Returns whether somebody holds the job: only a release lets it go on."""
    return reason in _HELD
