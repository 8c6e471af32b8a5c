"""Fetches the parts of what a host offers, on the controller: over SSH, and through Slurm's login host."""

from __future__ import annotations

import base64
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from deepep_controller import DeepEPAction
from deepep_host import events
from deepep_host.assemble import target_of
from deepep_host.files import now_iso, write_bytes
from deepep_host.incoming import Incoming
from deepep_host.pack import BadArchive, total_bytes
from deepep_host.session import Session

ATTEMPTS = 3
AT_ONCE = 16
"""Parts that a host packs ahead."""

MIB = 1024 * 1024
ROOM_LEFT = 256 * MIB
"""What fetching leaves free on the controller's disk, in bytes."""

Pack = Callable[[str, list[int]], Mapping[str, Any]]
"""Has parts of an index packed, by its id and their numbers (``packing.pack_parts``)."""


def note_collected(
    session: Session,
    key: str,
    host: str,
    problem: str | None,
    placed: Sequence[str] = (),
    left_out: Sequence[Mapping[str, Any]] = (),
    **more: Any,
) -> None:
    """Notes what came of a run's files from one host and what did not, and tells of it."""
    seen = {"complete": problem is None, "problem": problem}
    named = [{**one, "path": target_of(one["path"], host) or one["path"]} for one in left_out]
    note = {**seen, "files": list(placed), "left_out": named, **more, "at": now_iso()}
    session.take_note(key, "collected-" + host, note)
    events.append(session.results_dir, "collect", run=key, host=host, **seen, files=len(placed),
                  left_out=len(named))  # fmt: skip


class Gone(Exception):
    """The host could not be reached for too long."""


class Carrier:
    """Brings what ``host`` offers of one run to the controller.

    ``action`` is connected with the host where the parts lie, which it may lose for ``patience_s``.
    """

    def __init__(
        self, action: DeepEPAction, session: Session, key: str, host: str, patience_s: float, pack: Pack
    ) -> None:
        self._action = action
        self._session = session
        self._key = key
        self._host = host
        self._patience_s = patience_s
        self._pack = pack

    def bring(self, incoming: Incoming, offered: Mapping[str, Any]) -> bool:
        """Fetches all parts that are missing; False where the files are others by now.

        Raises BadArchive, Gone, OSError.
        """
        index = offered["index"]
        incoming.open(index)
        told = 0.0
        if offered.get("part"):
            self._accept(incoming, offered["part"])
        whole = total_bytes(index)
        while incoming.missing():
            needed = min(incoming.left_bytes(), MIB * AT_ONCE) + ROOM_LEFT // 2
            if shutil.disk_usage(self._session.folder).free < needed:
                raise BadArchive(f"the controller's disk is full: {self._session.folder}")
            if time.monotonic() - told > 2.0:
                told = time.monotonic()
                done = max(whole - incoming.left_bytes(), 0)
                events.append(self._session.results_dir, "collecting", run=self._key, host=self._host,
                              done=done, total=whole)  # fmt: skip
            answer = self._pack(index["id"], incoming.missing()[:AT_ONCE])
            if answer.get("stale"):
                return False
            if "part" in answer:
                self._accept(incoming, answer["part"])
            for part in answer.get("parts", ()):
                self._fetch(incoming, Path(offered["folder"]), part)
        return True

    def _accept(self, incoming: Incoming, part: Mapping[str, Any]) -> None:
        if part["number"] in incoming.missing():
            write_bytes(incoming.part_path(), base64.b64decode(part["content"]), 0o600)
            incoming.accept(part["number"], part["sha256"])

    def _fetch(self, incoming: Incoming, folder: Path, part: Mapping[str, Any]) -> None:
        """Fetches one part that lies as a file. Raises BadArchive, Gone."""
        attempt = 0
        began = time.monotonic()
        while True:
            try:
                self._action.fetch_file(str(folder / part["name"]), incoming.part_path())
                incoming.accept(part["number"], part["sha256"])
                return
            except BadArchive:
                attempt += 1
                if attempt >= ATTEMPTS:
                    raise
            except AnsibleError as error:
                if time.monotonic() - began > self._patience_s:
                    raise Gone(f"{part['name']} could not be fetched: {error}") from error
                time.sleep(2.0)
