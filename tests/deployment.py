"""What `deploy/` starts, as data: each container's command, its environment, and what else it names."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

DEPLOY = Path(__file__).parents[1] / "deploy"
ENTRYPOINT = ("lsml",)
"""Of the image that the Dockerfile makes."""


class Container(NamedTuple):
    """One container.

    Attributes:
        image: its name.
        words: the command; empty where the image has it.
        environment: values by name; None where a secret has it.
    """

    image: str
    words: tuple[str, ...]
    environment: Mapping[str, str | None]


def compose() -> dict[str, Any]:
    """The compose file."""
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    return found


def kustomization() -> dict[str, Any]:
    """What joins the manifests."""
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "kubernetes/kustomization.yaml").read_text(encoding="utf-8"))
    return found


def manifests() -> list[dict[str, Any]]:
    """The objects of all manifests."""
    texts = [(DEPLOY / "kubernetes" / name).read_text(encoding="utf-8") for name in kustomization()["resources"]]
    return [found for text in texts for found in yaml.safe_load_all(text)]


def composed() -> dict[str, Container]:
    """The containers of the compose file, by service."""
    found = {}
    for name, service in compose()["services"].items():
        own = ENTRYPOINT if service["image"] == "lsml" else ()
        words = (*service.get("entrypoint", own), *service.get("command", ()))
        found[name] = Container(service["image"], words, service["environment"])
    return found


def pods() -> dict[str, dict[str, Any]]:
    """The pods of the manifests, by the name of what makes them."""
    return {
        found["metadata"]["name"]: found["spec"]["template"]["spec"]
        for found in manifests()
        if "template" in found.get("spec", {})
    }


def orchestrated() -> dict[str, Container]:
    """The containers of the manifests, by the name of what makes them."""
    return {name: _of_pod(pod) for name, pod in pods().items()}


def _of_pod(pod: Mapping[str, Any]) -> Container:
    (container,) = pod["containers"]
    environment = {entry["name"]: entry.get("value") for entry in container.get("env", ())}
    for source in container.get("envFrom", ()):
        environment |= dict(_literals(source["configMapRef"]["name"]))
    return Container(container["image"], (*container.get("command", ()), *container.get("args", ())), dict(environment))


def _literals(name: str) -> Iterator[tuple[str, str]]:
    (generator,) = [found for found in kustomization()["configMapGenerator"] if found["name"] == name]
    for literal in generator["literals"]:
        key, _, value = literal.partition("=")
        yield key, value
