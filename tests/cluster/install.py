"""Makes sure that the test bed's Debian packages are there: ``python -m tests.cluster.install``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

PACKAGES = {
    "ip": "iproute2",
    "sshd": "openssh-server",
    "ssh-keygen": "openssh-client",
    "tini": "tini",
    "nsenter": "util-linux",
    "sudo": "sudo",
    "openssl": "openssl",
    "docker-registry": "docker-registry",
    "htpasswd": "apache2-utils",
    "podman": "podman",
    "crun": "crun",
    "skopeo": "skopeo",
    "dockerd": "docker.io",
    "iptables": "iptables",
    "nft": "nftables",
    "netavark": "netavark",
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "sbatch": "slurm-client",
    "slurmdbd": "slurmdbd",
    "munged": "munge",
    "mariadbd": "mariadb-server",
    "shellcheck": "shellcheck",
}
"""Command -> Debian package that brings it."""

_ELSEWHERE = {"netavark": ("/usr/lib/podman/netavark", "/usr/libexec/podman/netavark")}
_PATH = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"


def missing() -> list[str]:
    """Returns the packages whose commands are not there."""
    return [package for command, package in PACKAGES.items() if not _have(command)]


def _have(command: str) -> bool:
    return bool(shutil.which(command, path=_PATH)) or any(map(os.path.exists, _ELSEWHERE.get(command, ())))


def main() -> int:
    """Installs what is missing where this is root on Debian; elsewhere the tests say why they skip."""
    packages = missing()
    if packages and os.geteuid() == 0 and shutil.which("apt-get"):
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update", "-q"], check=True, stdout=subprocess.DEVNULL, env=env)
        subprocess.run(
            ["apt-get", "install", "-y", "-q", "--no-install-recommends", *packages],
            check=True,
            stdout=subprocess.DEVNULL,
            # A container or a chroot starts no services; nor does the test bed want any of these.
            env={**env, "RUNLEVEL": "1"},
        )
        packages = missing()
    if packages:
        print(f"tests/cluster: not installed: {', '.join(packages)}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
