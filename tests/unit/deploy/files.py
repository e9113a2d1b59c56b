"""The deployment files as what reads them sees them."""

import configparser
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).resolve().parents[3]
KUBERNETES = PROJECT / "deploy/kubernetes"
UNITS = sorted((PROJECT / "deploy/systemd").glob("*.service"))
PAGES = [PROJECT / "docs/deployment.md", PROJECT / "deploy/compose/README.md"]


def texts() -> dict[str, str]:
    """Every deployment file and page by its path."""
    paths = [PROJECT / "Dockerfile", PROJECT / ".dockerignore", PROJECT / "compose.yaml", *PAGES]
    paths += [path for path in (PROJECT / "deploy").rglob("*") if path.is_file()]
    secret = PROJECT / "deploy/compose"
    kept = {path for path in paths if path.parent != secret / "secrets"}
    kept.discard(secret / "bandit-router.env")
    return {str(path.relative_to(PROJECT)): path.read_text() for path in sorted(kept)}


def documents(path: Path) -> list[dict[str, Any]]:
    """The YAML documents of a file."""
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def compose() -> dict[str, Any]:
    """The compose file, its anchors resolved."""
    (found,) = documents(PROJECT / "compose.yaml")
    return found


def manifests() -> list[dict[str, Any]]:
    """Every Kubernetes object that is applied, without the components' patches."""
    paths = [*(KUBERNETES / "base").glob("*.yaml"), *(KUBERNETES / "migrate").glob("*.yaml")]
    found = [document for path in sorted(paths) for document in documents(path)]
    return [each for each in found if each["kind"] != "Kustomization"]


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod's template, by the kind and name of what makes it."""

    kind: str
    name: str
    spec: dict[str, Any]

    @property
    def container(self) -> dict[str, Any]:
        """Its only container."""
        (container,) = self.spec["containers"]
        return dict(container)


def pods() -> list[Pod]:
    """Every pod that is started."""
    return [
        Pod(each["kind"], each["metadata"]["name"], each["spec"]["template"]["spec"])
        for each in manifests()
        if "template" in each.get("spec", {})
    ]


def unit(path: Path) -> dict[str, list[str]]:
    """The settings of a unit's [Service]; each may stand there more than once."""
    found: dict[str, list[str]] = {}
    section = ""
    for line in path.read_text().splitlines():
        if line.startswith("["):
            section = line
        elif section == "[Service]" and line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    configparser.ConfigParser(strict=False, interpolation=None).read_string(path.read_text())
    return found


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, continued lines joined."""
    text = (PROJECT / "Dockerfile").read_text()
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", " ", lines)
    pairs = [line.partition(" ") for line in joined.splitlines() if line.strip()]
    return [(name, rest.strip()) for name, _, rest in pairs]


def final_stage() -> list[tuple[str, str]]:
    """What comes after the last FROM."""
    steps = instructions()
    last = max(number for number, (name, _) in enumerate(steps) if name == "FROM")
    return steps[last:]


def image_environment() -> dict[str, str]:
    """What the image sets."""
    set_ = [rest for name, rest in final_stage() if name == "ENV"]
    return dict(pair.split("=", 1) for rest in set_ for pair in shlex.split(rest))


def commands() -> Iterator[tuple[str, list[str]]]:
    """Every command line of ours that any file runs, without its first word."""
    for name, rest in final_stage():
        if name == "CMD":
            yield "Dockerfile CMD", json.loads(rest)
        if name == "HEALTHCHECK":
            yield "Dockerfile HEALTHCHECK", json.loads(rest[rest.index("[") :])[1:]
    for name, service in compose()["services"].items():
        if "command" in service:
            yield f"compose {name}", service["command"]
        test = service.get("healthcheck", {}).get("test", [])
        if "bandit-router" in test:
            yield f"compose {name} health", test[2:]
    for pod in pods():
        yield f"{pod.kind} {pod.name}", pod.container["args"]
    for patch in documents(KUBERNETES / "tls/router.yaml"):
        for container in patch["spec"]["template"]["spec"]["containers"]:
            for key in ("startupProbe", "livenessProbe", "readinessProbe"):
                yield f"tls {key}", container[key]["exec"]["command"][1:]
    for path in UNITS:
        (start,) = unit(path)["ExecStart"]
        yield path.name, shlex.split(start)[1:]
