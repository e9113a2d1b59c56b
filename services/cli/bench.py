"""`bench`: every claim about speed, measured on this machine."""

import runpy
import sys
from importlib.util import find_spec
from pathlib import Path

import typer

from services.cli.failures import CommandError

_PROJECT = Path(__file__).resolve().parents[2]
MODULE = "benchmarks"


def bench(context: typer.Context) -> None:
    """
    Measure what the documentation claims about speed, each beside its floor.

    Starts what it needs and ends it.  Needs a clone of the project, as rivals and oracles come with
    it, and `h2load` (Debian's nghttp2-client) for the wire..

    \b
    bandit-router bench
    bandit-router bench kernels replay
    bandit-router bench wire --rounds 3
    """
    sys.path.insert(0, str(_PROJECT))
    if find_spec(MODULE) is None:
        raise CommandError("the benchmarks are not installed", hint="run it in a clone")
    sys.argv = ["bandit-router bench", *context.args]
    runpy.run_module(MODULE, run_name="__main__", alter_sys=True)
