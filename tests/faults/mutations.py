"""
The suite fails when it should: each safeguard is taken away in a copy, and a test must notice.

    python -m tests.faults.mutations [NAME ...]

Prints for each which tests turned red.  Exit status 1: nobody noticed one, or a test that should
not mind did.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
COPIED = ("bandit", "migrations", "services", "tests", "pyproject.toml")
TIMEOUT_S = 600


@dataclass(frozen=True, slots=True)
class Change:
    """In this file, this text becomes that one; it must be there."""

    path: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Mutation:
    """
    A safeguard that is taken away.

    tests        that should notice
    is_harmless  another safeguard stands behind it: they must stay green
    """

    name: str
    changes: tuple[Change, ...]
    tests: tuple[str, ...]
    is_harmless: bool = False


_LOCK = Change(
    "bandit/store/postgres/learning.py",
    'text("select pg_try_advisory_xact_lock(:lock)")',
    'text("select cast(:lock as bigint) is not null")',
)
_AT_ONCE = "tests/faults/test_learners_at_once.py"
_ALL_OR_NOTHING = "tests/faults/test_a_fold_is_all_or_nothing.py"

MUTATIONS = (
    Mutation(
        "outcomes without their unique key",
        (
            Change(
                "migrations/versions/0001_initial.py",
                "primary key (policy_id, day, decision_id, head, source, sequence)",
                "check (sequence >= 0)",
            ),
        ),
        ("tests/contract/test_postgres_store.py", "tests/migrations"),
    ),
    Mutation(
        "a correction that takes nothing back",
        (
            Change(
                "bandit/routing/learner.py",
                "for value, sign in ((change.before, -1.0), (change.after, 1.0))",
                "for value, sign in ((change.after, 1.0),)",
            ),
        ),
        (_ALL_OR_NOTHING, _AT_ONCE, "tests/contract/test_order_does_not_matter.py"),
    ),
    Mutation(
        "a fold without a transaction around it and the dirty keys",
        (
            Change(
                "bandit/store/postgres/learning.py",
                """        with transaction(
            self._engine,""",
                """        with transaction(
            self._engine.execution_options(isolation_level="AUTOCOMMIT"),""",
            ),
        ),
        (_ALL_OR_NOTHING, "tests/contract/test_learning_port.py"),
    ),
    Mutation("learners without the policy's lock", (_LOCK,), (_AT_ONCE,), is_harmless=True),
    Mutation(
        "learners without the policy's lock and the posteriors' versions",
        (
            _LOCK,
            Change(
                "bandit/store/postgres/learning.py",
                "        and posterior.version = new.version - 1\n",
                "",
            ),
        ),
        (_AT_ONCE,),
    ),
)


def main(names: list[str]) -> int:
    """Try the mutations of these names, or all."""
    chosen = [each for each in MUTATIONS if not names or each.name in names]
    failures = 0
    for mutation in chosen:
        red, status = tried(mutation)
        is_as_it_should = (not red and status == 0) if mutation.is_harmless else bool(red)
        failures += not is_as_it_should
        print(f"{'ok  ' if is_as_it_should else 'FAIL'} {mutation.name}", flush=True)
        for name in red:
            print(f"       red: {name}", flush=True)
        if not red:
            how = "all green" if status == 0 else f"nothing was red; pytest ended with {status}"
            print(f"       {how}", flush=True)
    print(f"{len(chosen)} mutations, {failures} not as they should be")
    return min(failures, 1)


def tried(mutation: Mutation) -> tuple[list[str], int]:
    """The names of the tests that failed on the changed copy, and how pytest ended."""
    with tempfile.TemporaryDirectory(prefix="bandit-mutation-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # Postgres runs as another user
        for part in COPIED:
            source = PROJECT / part
            copy = shutil.copytree if source.is_dir() else shutil.copy2
            copy(source, folder / part)
        for change in mutation.changes:
            apply(folder, change)
        ended = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *mutation.tests],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
    # Tests that could not be collected would be no proof: only failures count.
    failed = re.findall(r"^FAILED ([^\s\[]+)", ended.stdout, flags=re.MULTILINE)
    return list(dict.fromkeys(failed)), ended.returncode


def apply(folder: Path, change: Change) -> None:
    """Make one change; SystemExit where its place is no longer there exactly once."""
    path = folder / change.path
    text = path.read_text()
    if text.count(change.before) != 1:
        raise SystemExit(f"{change.path}: not there exactly once: {change.before.strip()}")
    path.write_text(text.replace(change.before, change.after))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
