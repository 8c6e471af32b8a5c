"""One image on its way to one host, as the controller drives it: decided, fetched, served to others, closed.

Ansible runs a worker process per host; they agree through the session's boards and never raise for a host's
failure: a run that lacks its image is skipped, and says why.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import deepep_secrets
from ansible import context
from deepep_controller import Answer
from deepep_host import events
from deepep_host.image import board as boards
from deepep_host.image import carrier, enroot, steps, store
from deepep_host.reference import parse
from deepep_host.registry import Login, RegistryError
from deepep_host.session import Session

TICK_S = 0.2
LOOK_S = 10.0
LOST_AFTER_S = 30.0
"""How long a host may be unreachable while its own process goes on with the image."""
ENDED = ("ready", "failed")
OWN = ("registry_down", "tls_untrusted")
"""A registry's no that may be the fault of the host that asked: its network, the certificates it trusts."""


class HostFailed(Exception):
    """This host will not have the image; the text says why."""


class Hands(Protocol):
    """What the action plugin does for a job: calls to its host, copies, credentials."""

    host: str
    limit: float

    def session(self) -> Session:
        """Returns the open session."""

    def argument(self, name: str, default: Any = None) -> Any:
        """Returns an argument of the task."""

    def verb(self, verb: str, **told: Any) -> Answer:
        """Calls the module on the host."""

    def tick(self) -> None:
        """Waits for a moment, and keeps the host for the session meanwhile."""

    def login(self, place: str) -> Login:
        """Returns who asks ``registry/repository``. Raises HostFailed."""

    def copy_to(self, source: Path, name: str) -> str:
        """Brings a file to the host. Raises HostFailed."""

    def copy_from(self, path: str, target: Path) -> None:
        """Brings a file from the host. Raises HostFailed."""


class Job:
    """One image on this worker's host."""

    def __init__(
        self, action: Hands, runs: Sequence[Mapping[str, Any]], reference: str, runtime: str
    ) -> None:
        """``runs``: all that are played, on any host. Hosts of others have no part in this play: nobody may
        wait for them.
        """
        self._action = action
        self._host = action.host
        self._session: Session = action.session()
        self._reference, self._runtime = reference, runtime
        self._image = parse(reference)
        self._key = steps.key_of(reference, runtime)
        self._runs = [run for run in runs if (run["image"], run["container_runtime"]) == (reference, runtime)]
        plan = self._session.plan()
        members = dict.fromkeys(member["name"] for run in self._runs for member in run["hosts"])
        hosts = [name for name in plan["hosts"] if name in members]
        self._folder = boards.folder(self._session.folder, self._session.run_id)
        self.board = boards.Board(self._folder / f"{self._key}.json", hosts)
        self.blocking = int(context.CLIARGS.get("forks") or 1) >= len(hosts)
        labels = {plan["hosts"][name].get("one_machine") for name in hosts}
        self._one_machine = len(labels) == 1 and None not in labels
        self._alone = len(hosts) == 1
        self._keep = (
            bool(action.argument("cache", False)) and str(action.argument("cache")).lower() != "false"
        )
        self._pull_from = str(action.argument("pull_from", "hosts"))
        self._pull_with = str(action.argument("pull_with", "client"))

    @property
    def _mine(self) -> dict[str, Any]:
        return dict(self.board.read()["hosts"][self._host])

    @property
    def text(self) -> str:
        """What became of it, for the task's message."""
        refused = self.board.read()["refused"]
        mine = self._mine
        if refused:
            return f"{self._reference}: {refused['text']}"
        if mine["phase"] == "ready":
            return f"{self._reference} is here as {str(mine['entry']['digest'])[:19]}"
        return f"{self._reference}: {mine.get('problem') or mine['phase']}"

    # ---- the way of one host ----

    def drive(self) -> None:
        """Brings the image here, or records why not."""
        if self._mine["phase"] in ENDED or self.board.read()["refused"]:
            return
        try:
            self._drive()
        except HostFailed as failure:
            self._fail(str(failure))
        except (deepep_secrets.CredentialsError, carrier.CarrierError) as failure:
            self._refuse("credentials", str(failure))

    def _drive(self) -> None:
        if self._unreachable():
            # Its runs are refused for that, by name.
            self.board.update(self._host, phase="failed", problem="the host is unreachable")
            return
        if self._mine["phase"] is None:
            if not self._decided():
                return
            self._begin()
        while self._mine["phase"] not in ENDED and not self.board.read()["refused"]:
            if time.monotonic() > self._action.limit:
                raise HostFailed("the image did not arrive in time (deepep_image_timeout_seconds)")
            if self._hopeless():
                return
            kind, where = self.board.assign(
                self._host, int(self._action.argument("fan_out", 2)), not self._image.file,
                self._pull_from, not self.blocking,
            )  # fmt: skip
            if kind == boards.WAIT:
                if not self.blocking and not self.board.may_ask(self._host):
                    return  # Hosts that may ask have no worker while this one waits.
                self._action.tick()
            elif kind == boards.NOWHERE:
                raise HostFailed("the image was kept on other hosts, and none of them gives it any more")
            elif kind == boards.PEER:
                self._fetch({"kind": "peer", **where})
            elif kind == boards.REGISTRY:
                self._fetch({"kind": "registry"}, self._action.login(self._image.place))
            elif where["path"]:
                path = self._action.copy_to(Path(where["path"]), f"{self._key}-{self._session.run_id}")
                self._fetch({"kind": "file", "path": path, "host": "the controller"})
            else:
                self._bring_to_controller()

    def _unreachable(self) -> bool:
        checks = (self._session.preflight(self._host) or {}).get("checks") or ()
        return any(check["name"] == "reachable" and check["result"] == "fail" for check in checks)

    def _decided(self) -> bool:
        """Has it decided, here or by another worker, what all hosts will have."""
        if self._keep and not self._image.file and not self.board.read()["spec"]:
            kept = self._ask("cached", reference=self._reference, runtime=self._runtime)["spec"]
            if kept:
                self._tell(phase="decided", digest=kept["digest"], size=kept["size"], from_registry=0)
                self.board.decide(kept)
            else:
                self.board.without_kept(self._host)
        while True:
            data = self.board.read()
            if data["spec"] or data["refused"] or self._hopeless():
                return bool(data["spec"]) and not data["refused"]
            if time.monotonic() > self._action.limit:
                raise HostFailed("no host could ask for the image in time")
            if self._keep and not self._image.file and not self.board.nobody_kept(not self.blocking):
                self._action.tick()
                continue
            if not self.board.may_ask(self._host):
                if not self.blocking:
                    return False
            elif self.board.take("resolve", self._host):
                try:
                    if self._resolve():
                        return True
                except HostFailed:
                    self.board.give_back("resolve", self._host)
                    raise
            self._action.tick()

    def _resolve(self) -> bool:
        told = {"reference": self._reference, "runtime": self._runtime, "pull_with": self._pull_with}
        login = Login() if self._image.file else self._action.login(self._image.place)
        if self._pull_from == boards.CONTROLLER and not self._image.file:
            lacking = enroot.problem(importing=True) if self._runtime == "enroot" else None
            if lacking:
                self._refuse(
                    "unsupported",
                    f"the controller cannot pull an image for enroot: {lacking}. Or name a .sqsh file, or "
                    "set deepep_image_pull_from: hosts",
                )
                return False
            machine = self._ask("machine")["machine"]
            try:
                spec = carrier.resolve(told, login, machine)
            except RegistryError as error:
                self._refuse(error.code, str(error))
                return False
        else:
            answer = self._ask("resolve", login=login.to_json(), **told)
            if answer.get("refused"):
                self._refused(str(answer["refused"]["code"]), str(answer["refused"]["text"]))
                return False
            spec = answer["spec"]
        self._tell(phase="decided", digest=spec["digest"], size=spec["size"], from_registry=spec["received"],
                   user=login.user if login.known else None, registry=self._image.host or None)  # fmt: skip
        self.board.decide(spec)
        return True

    def _begin(self) -> None:
        may_pull = self._pull_from != boards.CONTROLLER
        found = self._ask("begin", spec=self._spec(), may_pull=may_pull, keep=self._keep)
        phase = found["phase"]
        if phase == "failed":
            raise HostFailed(str(found["problem"]))
        if phase == "local":
            self.board.update(self._host, phase="local")
            self._fetch({"kind": "local", "path": found["path"]})
            return
        if found.get("measured") and self._spec()["pieces"] is None:
            self.board.measured(self._host, found["measured"])
        self.board.update(self._host, phase=phase, file=found.get("file"), entry=found.get("entry"))
        if phase == "ready":
            self._ready(found["entry"], "was here")

    def _fetch(self, source: Mapping[str, Any], login: Login | None = None) -> None:
        """Has the host's agent get the image from ``source`` and follows it until it is ready or lost."""
        job = {
            "run_id": self._session.run_id,
            "host": self._host,
            "spec": self._spec(),
            "source": dict(source),
            "login": login.to_json() if login else None,
            "secrets": None if self._alone else deepep_secrets.transfer(self._session),
            "keep": self._keep,
            "pull_with": self._pull_with,
            "lifetime_s": max(60.0, self._action.limit - time.monotonic() + 60.0),
            "entry": self._mine.get("entry"),
        }
        named = {name: self._action.argument(name, "") for name in ("interface", "address")}
        answer = self._ask("fetch", job=job, one_machine=self._one_machine, **named)
        self._follow(answer["state"], str(source.get("host") or source["kind"]))

    def _follow(self, state: Mapping[str, Any], source: str) -> None:
        told = None
        unreachable_since: float | None = None
        while True:
            phase = state["phase"]
            if (phase, source, state.get("done")) != told:
                told = (phase, source, state.get("done"))
                seen = {name: state.get(name) for name in ("done", "total", "from_registry", "problem")}
                self._tell(phase=phase, source=source, **seen)
            if state.get("measured"):
                other = self.board.measured(self._host, state["measured"])
                if other:
                    raise HostFailed(other)
            if phase == "lost":
                self.board.lost(self._host, str(state["code"]))
                return
            if phase == "failed":
                self._failed(state)
                return
            reached = {
                name: state[name] for name in ("phase", "address", "port") if state.get(name) is not None
            }
            if phase == "ready":
                self.board.update(self._host, **reached, entry=state["entry"], file=True,
                                  from_registry=state["from_registry"])  # fmt: skip
                self._ready(state["entry"], source)
                return
            self.board.update(self._host, **reached)
            answer = self._action.verb("look", key=self._key, seen=phase, wait_s=LOOK_S)
            if answer.problem:
                unreachable_since = unreachable_since or time.monotonic()
                if not answer.unreachable or time.monotonic() - unreachable_since > LOST_AFTER_S:
                    raise HostFailed(answer.problem)
                time.sleep(2.0)
                continue
            unreachable_since = None
            if answer.values["state"] is None:
                raise HostFailed("the staging process left no trace")
            if time.monotonic() > self._action.limit:
                raise HostFailed("the image did not arrive in time (deepep_image_timeout_seconds)")
            state = answer.values["state"]

    def _failed(self, state: Mapping[str, Any]) -> None:
        """A registry's no is final for all hosts, or once others say so too; all else is this host's own."""
        final = ("credentials_missing", "credentials_wrong", "credentials_expired", "no_rights", "no_image",
                 "registry_down", "tls_untrusted", "rate_limited", "unusable_image", "damaged")  # fmt: skip
        if state["code"] in final:
            self._refused(str(state["code"]), str(state["problem"]))
            return
        self.board.give_back("pull", self._host)
        raise HostFailed(str(state["problem"]))

    def _ready(self, entry: Mapping[str, Any], source: str) -> None:
        for run in self._runs:
            if any(member["name"] == self._host for member in run["hosts"]):
                self._session.take_note(
                    run["id"], f"image-{self._host}", {"reference": self._reference, **entry}
                )
        self._tell(phase="ready", source=source, digest=entry["digest"])

    # ---- for the others ----

    def help_others(self) -> None:
        """Serves a file that was here before, once somebody wants it; carries it to the controller on
        request.
        """
        mine = self._mine
        if mine["phase"] != "ready" or not mine.get("file") or self._alone:
            return
        if not mine.get("port") and self.board.wanting():
            path = mine["file"] if isinstance(mine["file"], str) else mine["entry"]["file"]
            job = {"kind": "serve", "path": path}
            try:
                self._fetch(job)
            except HostFailed as failure:
                # It has its image; others will get theirs elsewhere.
                self.board.update(self._host, file=None)
                self._tell(phase="ready", problem=f"cannot serve: {failure}")
        elif self.board.relay_wanted(self._host):
            target = carrier.place(self._folder, self._key)
            try:
                self._action.copy_from(self._file_there(mine), target)
            except HostFailed as failure:
                self._tell(phase="relay", problem=str(failure))
                self.board.update(self._host, file=None)
                self.board.relayed(None)
                return
            self._tell(phase="relay", problem=None)
            self.board.relayed(str(target))

    def _file_there(self, mine: Mapping[str, Any]) -> str:
        if isinstance(mine["file"], str):
            return mine["file"]
        if mine["entry"].get("file"):
            return str(mine["entry"]["file"])
        return str(self._ask("where", name=self._spec()["file_name"])["path"])

    def _bring_to_controller(self) -> None:
        """Gets the file to the controller itself: from the registry, or where the reference names one."""
        if not self.board.take("controller", self._host):
            self._action.tick()
            return
        spec = self._spec()
        if self._image.file:
            source = Path(self._reference).expanduser()
            if not source.is_file():
                self._refuse(
                    "no_image",
                    f"{self._reference} is neither on a host nor on the controller: copy it there, or "
                    f"name an image "
                    "in a registry",
                )
                return
            self.board.measured("the controller", carrier.measure(source, self._runtime))
            self.board.relayed(str(source))
            return
        target = carrier.place(self._folder, self._key)
        login = self._action.login(self._image.place)
        try:
            if self._runtime == "enroot":
                left_s = self._action.limit - time.monotonic()
                measured = carrier.import_squashfs(spec, login, self._session.run_id, target, left_s)
                self.board.measured("the controller", measured)
                received = None  # enroot does not say
            else:
                received = carrier.fetch(spec, login, target)
        except RegistryError as error:
            self._refuse(error.code, str(error))
            return
        except (carrier.CarrierError, store.NoRoom, OSError) as error:
            self._refuse("controller", str(error))
            return
        self._tell(phase="controller", from_registry=received, total=spec["size"])
        self.board.relayed(str(target))

    def close(self) -> bool:
        """Ends what serves the image here; returns whether there was anything to end."""
        carrier.remove(self._folder, self._key)
        mine = self._mine
        if not (mine.get("port") or mine.get("file") or mine.get("touched")):
            return False
        answer = self._action.verb("close", spec=self._spec(), keep=self._keep)
        return bool(answer.values.get("changed")) if not answer.problem else False

    # ---- small things ----

    def _spec(self) -> dict[str, Any]:
        return dict(self.board.read()["spec"])

    def _ask(self, verb: str, **told: Any) -> dict[str, Any]:
        answer = self._action.verb(verb, **told)
        if answer.problem:
            raise HostFailed(answer.problem)
        return answer.values

    def _fail(self, problem: str) -> None:
        self.board.update(self._host, phase="failed", problem=problem)
        self._tell(phase="failed", problem=problem)
        for run in self._runs:
            if any(member["name"] == self._host for member in run["hosts"]):
                self._session.skip(run["id"], f"host {self._host} does not have {self._reference}: {problem}")

    def _refused(self, code: str, text: str) -> None:
        """Ends it for all hosts, or lets another one ask where the reason may be this host's own."""
        if code not in OWN:
            self._refuse(code, text)
            return
        self.board.doubt(self._host, code, text)
        self._tell(phase="lost", code=code, problem=text)
        self._hopeless()

    def _hopeless(self) -> bool:
        """Returns whether enough hosts cannot reach the registry, which then is said for all."""
        told = self.board.hopeless()
        if told is None:
            return False
        self._refuse(**told)
        return True

    def _refuse(self, code: str, text: str) -> None:
        self.board.refuse(code, text)
        self._tell(phase="refused", code=code, problem=text)
        for run in self._runs:
            self._session.skip(run["id"], text)

    def _tell(self, **what: Any) -> None:
        events.append(self._session.results_dir, "image", host=self._host, reference=self._reference, **what)
