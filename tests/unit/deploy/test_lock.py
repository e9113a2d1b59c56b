"""What is installed: each package in one version, by its hash."""

import re
import tomllib
from itertools import chain

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.unit.deploy.files import PROJECT

PINNED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9.!+_-]+( ; [^#\\]+)?")
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def entries() -> list[tuple[str, list[str]]]:
    """Each requirement of the lock with its options."""
    text = (PROJECT / "requirements.lock").read_text()
    joined = re.sub(r"\\\n\s*", "\t", text)
    lines = [line for line in joined.splitlines() if line.strip()]
    split = [line.split("\t") for line in lines]
    return [(first.strip(), [option.strip() for option in options]) for first, *options in split]


def test_every_line_of_the_lock_is_a_version_with_its_hashes():
    assert len(entries()) > 100
    for requirement, options in entries():
        assert PINNED.fullmatch(requirement), requirement
        assert options, requirement
        assert all(HASH.fullmatch(option) for option in options), requirement


def test_the_lock_holds_no_address():
    text = (PROJECT / "requirements.lock").read_text()

    assert not re.search(r"://|git\+| @ |--(extra-)?index-url|--find-links|^-e", text, re.MULTILINE)


def test_the_lock_holds_all_that_the_project_asks_for():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    locked = {}
    for requirement, _ in entries():
        parsed = Requirement(requirement)
        (version,) = parsed.specifier
        locked.setdefault(canonicalize_name(parsed.name), []).append(version.version)

    for line in asked:
        wanted = Requirement(line)
        versions = locked.get(canonicalize_name(wanted.name), [])
        assert any(wanted.specifier.contains(version) for version in versions), line
