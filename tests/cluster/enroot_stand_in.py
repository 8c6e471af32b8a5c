#!/usr/bin/python3
"""A stand-in for enroot, which Debian lacks: create, start and remove as enroot 4.1 checks and does them.

Recorded from NVIDIA/enroot 8ea147d, enroot.in and src/runtime.sh: options and their arity, what is refused
and in which words, how environment and mounts are put together, what runs the command. An image is a file
with squashfs' magic number and a JSON object: "files" (path -> text) and "environment" (lines of
/etc/environment). Every call is written to $ENROOT_DATA_PATH/../calls.jsonl. /usr is the host's.
``import`` is enroot_stand_in.sh beside this file; then the texts of the image's layers are put into the file.
"""

import ctypes
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from functools import partial
from pathlib import Path

OPTIONS = {
    "create": {"-n": 1, "--name": 1, "-f": 0, "--force": 0},
    "start": {"-c": 1, "--conf": 1, "-e": 1, "--env": 1, "--rc": 1, "-r": 0, "--root": 0, "-w": 0, "--rw": 0,
              "-m": 1, "--mount": 1, "--pid": 0, "--net": 0, "--ipc": 0, "--uts": 0},
    "remove": {"-f": 0, "--force": 0},
}  # fmt: skip
NO = re.compile(r"^(no?|N[oO]?|[fF](alse)?|FALSE)$")
CLONE_NEWNS = 0x00020000
NOTES = Path("/var/tmp/enroot-stand-in")  # noqa: S108 - of the lab's hosts
SUPERBLOCK = 96
"""Bytes of squashfs' superblock."""


def fail(text: str) -> None:
    """Ends as common::err does."""
    sys.exit(f"[ERROR] {text}")


def parse(verb: str, words: "list[str]") -> "tuple[dict[str, list[str]], list[str]]":
    """Returns options with their values, and the rest, which begins at the first word that is none."""
    found: dict[str, list[str]] = {}
    while words and words[0].startswith("-"):
        word = words.pop(0)
        if word == "--":
            break
        name, equals, value = word.partition("=")
        arity = OPTIONS[verb].get(name)
        if arity is None or (equals and not (arity and name.startswith("--"))):
            sys.exit(f"Usage: enroot {verb} [options]")
        if arity and not equals:
            value = words.pop(0) if words else ""
        if arity and not value:
            sys.exit(f"Usage: enroot {verb} [options]")
        found.setdefault(name, []).append(value)
    return found, words


def setting(name: str) -> "str | None":
    """Returns an ENROOT_ variable; None where it is absent or says no."""
    value = os.environ.get(name)
    return None if value is None or NO.match(value) else value


def rootfs(name: str) -> Path:
    """Returns where a container of this name is unpacked."""
    if not name or "/" in name:
        fail(f"Invalid argument: {name}")
    return Path(os.environ["ENROOT_DATA_PATH"]) / name


def create(options: "dict[str, list[str]]", rest: "list[str]") -> None:
    if len(rest) != 1:
        sys.exit("Usage: enroot create [options] [--] IMAGE")
    image = Path(rest[0])
    if not image.is_file():
        fail(f"No such file or directory: {image}")
    data = image.read_bytes()
    if not data.startswith(b"hsqs"):
        fail(f"Invalid image format: {image}")
    name = (options.get("--name") or options.get("-n") or [image.stem])[0]
    target = rootfs(name)
    if target.exists():
        if not ({"-f", "--force"} & set(options)):
            fail(f"File already exists: {target}")
        shutil.rmtree(target)
    # Behind the magic number, or behind a whole superblock.
    text = data[4 if data[4:5] == b"{" else SUPERBLOCK :].decode("utf-8", "replace")
    content, _ = json.JSONDecoder().raw_decode(text)
    for folder in ("dev", "etc", "proc", "sys", "tmp", "usr", "var"):
        (target / folder).mkdir(parents=True)
    for link in ("bin", "lib", "lib64", "sbin"):
        (target / link).symlink_to(f"usr/{link}")
    (target / "etc/environment").write_text("\n".join(content.get("environment", [])) + "\n")
    for path, text in content.get("files", {}).items():
        file = target / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o755)


def import_image(words: "list[str]") -> None:
    """Imports as recorded, with the environment and the texts of the image in the registry."""
    recorded = Path(__file__).resolve().with_name("enroot_stand_in.sh")
    NOTES.mkdir(exist_ok=True)
    (NOTES / "content").touch()
    code = subprocess.call(["bash", str(recorded), "import", *words])
    if code:
        sys.exit(code)
    manifest = json.loads((NOTES / "blobs/manifest").read_text())
    config = json.loads((NOTES / "blobs" / manifest["config"]["digest"]).read_text())
    content = {"environment": config["config"].get("Env") or [], "files": {}}
    for layer in manifest["layers"]:
        with tarfile.open(NOTES / "blobs" / layer["digest"]) as archive:
            for member in archive:
                stream = archive.extractfile(member) if member.isreg() else None
                if stream is not None:
                    content["files"]["/" + member.name] = stream.read().decode()
    with Path(words[words.index("--output") + 1]).open("r+b") as file:
        file.seek(SUPERBLOCK)
        file.write(json.dumps(content).encode() + b"\n")


def call(path: str, root: Path, name: str) -> "list[str]":
    """Returns the lines that a function of a configuration prints (``enroot start --conf``)."""
    script = f'source "$1"; ! declare -F {name} > /dev/null || {name}'
    env = {**os.environ, "ENROOT_ROOTFS": str(root)}
    return subprocess.check_output(["bash", "-c", script, "bash", path], env=env, text=True).splitlines()


def environment(root: Path, asked: "list[str]", more: "list[str]") -> "dict[str, str]":
    """Returns the container's environment: the image's, then --env; line by line, as awk and sed have it."""
    text = (root / "etc/environment").read_text()
    for entry in asked:
        if not re.match(r"^[A-Za-z_][A-Za-z0-9_]*(=|$)", entry):
            fail(f"Invalid argument: {entry}")
        text += (entry if "=" in entry else f"{entry}={os.environ.get(entry, '')}") + "\n"
    lines = [line.lstrip() for line in [*text.splitlines(), *more]]
    pairs = [line.partition("=") for line in lines if re.match(r"^[A-Za-z_][A-Za-z0-9_]*=", line)]
    return {name: value for name, _, value in pairs if not name.startswith("ENROOT_")}


def mount(root: Path, entry: str) -> None:
    """Mounts one colon-separated fstab line."""
    fields = entry.split(":")
    source, target = fields[0], root / fields[1].lstrip("/")
    options = fields[3].split(",") if len(fields) > 3 else []
    known = {"bind", "rbind", "ro", "rw", "x-create=dir", "x-create=file", "x-create=auto"}
    if "x-create=auto" in options:
        options.append("x-create=dir" if Path(source).is_dir() else "x-create=file")
    if set(options) - known:
        fail(f"failed to parse mount entry: {entry}")
    if "x-create=dir" in options:
        target.mkdir(parents=True, exist_ok=True)
    elif "x-create=file" in options:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    kind = "--rbind" if "rbind" in options else "--bind"
    if os.spawnlp(os.P_WAIT, "mount", "mount", kind, source, str(target)):
        fail(f"failed to mount: {source} at {target}")
    if "ro" in options:
        os.spawnlp(os.P_WAIT, "mount", "mount", "-o", "remount,bind,ro", str(target))


def start(options: "dict[str, list[str]]", rest: "list[str]") -> None:
    if not rest:
        sys.exit("Usage: enroot start [options] [--] NAME|IMAGE [COMMAND] [ARG...]")
    root = rootfs(rest[0])
    if not root.is_dir():
        fail(f"No such file or directory: {root}")
    mounts = options.get("-m", []) + options.get("--mount", [])
    configured = options.get("-c", []) + options.get("--conf", [])
    hook = partial(call, configured[0], root) if configured else lambda name: []
    hook("hooks")
    for entry in mounts:
        if not re.match(r"^\S+(:\S+)*$", entry):
            fail(f"Invalid argument: {entry}")
    rc = (options.get("--rc") or [None])[0]
    if rc and not Path(rc).is_file():
        fail(f"No such file or directory: {rc}")
    if ctypes.CDLL(None).unshare(CLONE_NEWNS):
        fail("unshare")
    os.spawnlp(os.P_WAIT, "mount", "mount", "--make-rslave", "/")
    os.spawnlp(os.P_WAIT, "mount", "mount", "--bind", str(root), str(root))
    env = environment(root, options.get("-e", []) + options.get("--env", []), hook("environ"))
    # The lines of a configuration are fstab's: source, target, options.
    mounts = mounts + ["{}:{}:none:{}".format(*line.split()) for line in hook("mounts")]
    system = [
        "/proc:/proc:none:rbind",
        "/sys:/sys:none:rbind",
        "/dev:/dev:none:rbind",
        "/usr:/usr:none:rbind",
    ]
    os.spawnlp(os.P_WAIT, "mount", "mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", str(root / "tmp"))
    for entry in [*system, *mounts]:
        mount(root, entry)
    script: list[str] = []
    if rc:
        (root / "tmp/.rc").write_text(Path(rc).read_text())
        script = ["/tmp/.rc"]  # noqa: S108 - in the container
    elif (root / "etc/rc").exists():
        script = ["/etc/rc"]
    elif len(rest) > 1:
        script = ["-c", 'exec "$@"', "sh"]
    if not (options.get("-w") or options.get("--rw") or setting("ENROOT_ROOTFS_WRITABLE")):
        os.spawnlp(os.P_WAIT, "mount", "mount", "-o", "remount,bind,ro", str(root))
    login = "-sh" if setting("ENROOT_LOGIN_SHELL") or "ENROOT_LOGIN_SHELL" not in os.environ else "sh"
    old = root / "tmp/.old"
    old.mkdir()
    os.spawnlp(os.P_WAIT, "pivot_root", "pivot_root", str(root), str(old))
    os.chdir("/")
    os.spawnlp(os.P_WAIT, "umount", "umount", "--lazy", "/tmp/.old")  # noqa: S108 - in the container
    os.execve("/bin/sh", [login, *script, *rest[1:]], env)


def main() -> None:
    verb, words = sys.argv[1], sys.argv[2:]
    if verb == "import":
        import_image(words)
        return
    if verb not in OPTIONS:
        sys.exit("Usage: enroot COMMAND [ARG...]")
    data = Path(os.environ.setdefault("ENROOT_DATA_PATH", str(NOTES / "data")))
    data.mkdir(parents=True, exist_ok=True)
    seen = {name: value for name, value in os.environ.items()
            if name.startswith(("ENROOT_", "NVIDIA_", "MELLANOX_", "DEEPEP_"))}  # fmt: skip
    with (data.parent / "calls.jsonl").open("a") as calls:
        print(json.dumps({"argv": sys.argv[1:], "env": seen}), file=calls)
    options, rest = parse(verb, words)
    if verb == "create":
        create(options, rest)
    elif verb == "start":
        start(options, rest)
    else:
        for name in rest:
            shutil.rmtree(rootfs(name))


if __name__ == "__main__":
    main()
