"""The commands that start a service, whole or in parts."""

import os
import re
import signal
import subprocess
import sys

import pytest

from services.cli.main import run
from services.supervisor import Stack

PROGRAM = [sys.executable, "-c", "from services.cli.main import main; main()"]


def test_everything_comes_up_and_goes_down_with_one_command():
    environment = {k: v for k, v in os.environ.items() if not k.startswith("BANDIT_")}
    process = subprocess.Popen(
        [*PROGRAM, "up", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )
    try:
        line = process.stdout.readline()
        target = re.fullmatch(r"ready at (\S+:\d+); .*\n", line).group(1)
        assert run(["policy", "list", "--target", target]) == 0
    finally:
        process.send_signal(signal.SIGINT)
        status = process.wait(20)

    assert status == 0
    assert run(["policy", "list", "--target", target]) == 1


@pytest.mark.parametrize("part", ["serve", "learn"])
def test_a_part_runs_alone_until_it_is_told_to_stop(stack: Stack, part: str):
    options = ["--port", "0"] if part == "serve" else []
    process = subprocess.Popen(
        [*PROGRAM, part, "--database-url", stack.database_url, *options],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stderr.readline()
    finally:
        process.terminate()
        process.stderr.read()
        status = process.wait(20)

    assert "listening" in line or "learning" in line
    assert status == 0
