"""What the exit code of a rank means. torchrun itself ends with 1 whatever the rank's code was."""

OK = 0
WRONG_DATA = 1  # a check against the reference failed
REFUSED = 2  # the configuration cannot run; nothing was started
FAILED = 3  # an exception
OUT_OF_MEMORY = 4
CONSEQUENCE = 5  # another rank failed first; it is named in the message
PEER_LOST = 6  # another rank went silent or made no progress
STORE_LOST = 7  # the store, its host or the network to it is gone
STALLED = 8  # no rank made progress for the stall timeout
TERMINATED = 143  # SIGTERM

MEANINGS = {
    OK: "all ranks finished and every check was right",
    WRONG_DATA: "dispatch or combine delivered a wrong element",
    REFUSED: "the configuration or the machine cannot run this; nothing was started",
    FAILED: "an exception; its traceback is on stderr, each line prefixed with the rank",
    OUT_OF_MEMORY: "out of memory",
    CONSEQUENCE: "consequence of another rank's failure, which the message names",
    PEER_LOST: "another rank is dead or silent; the message names it",
    STORE_LOST: "the store of torch.distributed, its host or the network to it is gone",
    STALLED: "no rank made progress within the stall timeout",
    TERMINATED: "ended by SIGTERM",
}
