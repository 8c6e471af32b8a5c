"""enroot: importing an image from its registry into a squashfs file, without a prompt and without traces."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from .. import credentials
from ..reference import DOCKER_HUB, Image, plain_text
from ..registry import Login

_NEEDS = ("curl", "jq", "parallel", "mksquashfs", "zstd")
"""What ``enroot import`` itself calls (its src/docker.sh)."""


class EnrootError(Exception):
    """enroot refused; the text is for the user."""


def problem(importing: bool) -> str | None:
    """Returns why enroot cannot be used on this host, None where it can."""
    if not shutil.which("enroot"):
        return "enroot is not installed here: install it, or set deepep_container_runtime"
    lacking = [name for name in _NEEDS if importing and not shutil.which(name)]
    if lacking:
        return f"enroot import needs {', '.join(lacking)}, which this host lacks: install them"
    return None


def uri(image: Image) -> str:
    """Returns the reference as every version of enroot reads it: ``docker://REGISTRY#PATH[:TAG][@DIGEST]``.

    Without the user: enroot finds it in the credentials, and would prompt for one that is not there.
    """
    if image.local_store:
        return f"{image.scheme}://{plain_text(image)}"
    registry = "registry-1.docker.io" if image.host == DOCKER_HUB else image.host
    text = f"docker://{registry}#{image.repository}"
    # Older versions take a tag or a digest, not both; newer ones ignore the tag beside a digest.
    return f"{text}@{image.digest}" if image.digest else f"{text}:{image.version}"


def import_image(
    image: Image, login: Login, auth_host: str | None, run_id: str, target: Path, timeout_s: float
) -> None:
    """Writes ``target`` (which must not exist) by ``enroot import``. Raises EnrootError, CredentialError.

    Credentials and the tokens that enroot makes of them lie in memory; layers beside the target.
    """
    scratch = target.with_name(f".{target.name}.enroot")
    shutil.rmtree(scratch, ignore_errors=True)
    with credentials.private_directory(run_id) as private:
        _, extra = credentials.enroot_credentials(private, image.host, login, auth_host)
        tokens = private / "tokens"
        tokens.mkdir(mode=0o700)
        cache = scratch / "cache"
        cache.mkdir(mode=0o700, parents=True)
        (scratch / "tmp").mkdir(mode=0o700)
        # enroot writes session tokens below its cache, and leaves them there when it is killed.
        (cache / f".tokens.{os.geteuid()}").symlink_to(tokens)
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("ENROOT_")},
            "ENROOT_CONFIG_PATH": str(private),
            "ENROOT_CACHE_PATH": str(cache),
            "ENROOT_TEMP_PATH": str(scratch / "tmp"),
            **extra,
        }
        argv = ["enroot", "import", "--output", str(target), "--", uri(image)]
        try:
            done = subprocess.run(  # noqa: S603 - enroot
                argv,
                env=environment,
                cwd=str(scratch),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise EnrootError(f"enroot import of {image.text} took more than {timeout_s:.0f} s") from error
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    # The exit code alone is not enough: an older enroot ends with 0 and no file where it cannot read a
    # manifest.
    if done.returncode != 0 or not target.is_file():
        said = (done.stderr or done.stdout).decode("utf-8", "replace").strip().splitlines()
        text = " | ".join(line.strip() for line in said[-3:]) or "it said nothing"
        raise EnrootError(
            f"enroot import {uri(image)} ended with {done.returncode}"
            + ("" if target.is_file() else " and wrote no file")
            + f": {text}"
            + _hint(text)
        )


def _hint(text: str) -> str:
    if "it said nothing" in text:
        return (
            "; enroot is silent where a registry insists on HTTP/2 with basic authentication, or "
            "(before 3.5) "
            "where the manifest is OCI's: serve HTTP/1.1, push with skopeo copy --format v2s2"
        )
    if "no space left" in text.lower():
        return "; make room, or set deepep_image_cache_dir to another disk"
    return ""
