"""Which image each host ran: a figure is one program's, so that all hosts must have had the same."""

from __future__ import annotations

from typing import NamedTuple

from .codes import Reason, reason
from .evidence import Evidence


class Image(NamedTuple):
    """An image as a host had it: ``digest`` is the registry's, ``id`` what the runtime started."""

    digest: str | None
    id: str | None

    @property
    def name(self) -> str | None:
        """What tells it from other images."""
        return self.digest or self.id


def container_name(host: str) -> str:
    """Returns where a host's container is described, relative to the run directory."""
    return f"logs/{host}.container.json"


def images_of(evidence: Evidence) -> dict[str, Image]:
    """Returns the image of each host that says which it ran."""
    found = {}
    for host in evidence.hosts:
        value = evidence.read_json(container_name(host))
        if isinstance(value, dict):
            digest, own = value.get("digest"), value.get("image_id")
            image = Image(*(text if isinstance(text, str) and text else None for text in (digest, own)))
            if image.name:
                found[host] = image
    return found


def check_images(evidence: Evidence) -> tuple[list[Reason], list[str]]:
    """Returns whether hosts ran different images, and a note where it is not known what some of them ran."""
    if evidence.run.get("container_runtime") in (None, "none"):
        return [], []
    found = images_of(evidence)
    unknown = [host for host in evidence.hosts if host not in found]
    notes = [f"nothing says which image ran on {', '.join(unknown)}"] if unknown else []
    # A runtime's own ids compare only where no registry named a digest.
    names = {host: image.digest for host, image in found.items()}
    if not all(names.values()):
        names = {host: image.id for host, image in found.items()}
    kinds = {name: [host for host in names if names[host] == name] for name in names.values() if name}
    if len(kinds) < 2:
        return [], notes
    told = "; ".join(f"{', '.join(hosts)}: {name}" for name, hosts in sorted(kinds.items()))
    odd = min(kinds.values(), key=len)
    return [
        reason(
            "image-differs",
            f"the hosts ran different images of the same name: {told}",
            container_name(odd[0]),
            host=odd[0] if len(odd) == 1 and len(evidence.hosts) > 2 else None,
            remedy="name the image by its digest (registry/organisation/image:tag@sha256:...), and run again",
        )
    ], notes
