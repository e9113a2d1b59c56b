import os
import subprocess
import sys

import pytest

from bandit.kernels.cache import VARIABLE, cache_folder, taking_turns

_USE = (
    "import numpy as np\n"
    "from bandit.kernels.projection import project\n"
    "print(project(np.eye(2), np.array([[1.0, 2.0], [3.0, 4.0]])).tolist(), project.stats)"
)
RIGHT = "[[1.0, 2.0], [3.0, 4.0]]"


def started(folder):
    environment = os.environ | {VARIABLE: str(folder)}
    command = [sys.executable, "-c", _USE]
    return subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def used(process):
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    return output, errors


def test_processes_that_start_together_fill_one_folder_and_later_ones_read_it(tmp_path):
    together = [used(process) for process in [started(tmp_path) for _ in range(3)]]
    later, _ = used(started(tmp_path))

    assert all(output.startswith(RIGHT) for output, _ in together)
    assert sum("cache_misses=Counter({" in output for output, _ in together) == 1
    assert "cache_hits=Counter({" in later
    assert "cache_misses=Counter()" in later


def test_what_is_damaged_is_told_and_done_without(tmp_path):
    used(started(tmp_path))
    for kept in tmp_path.rglob("*.nb[ic]"):
        kept.write_bytes(b"damaged")

    output, errors = used(started(tmp_path))

    assert output.startswith(RIGHT)
    assert "cannot use the kernels kept in" in errors


def test_a_process_that_does_not_leave_the_folder_holds_up_nobody_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr("bandit.kernels.cache.PATIENCE_S", 0.05)
    with taking_turns(tmp_path), pytest.raises(TimeoutError), taking_turns(tmp_path):
        pass


def test_a_folder_of_somebody_else_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    own = cache_folder()
    assert own is not None
    if os.geteuid() == 0:
        os.chown(own, 54321, -1)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)

    assert cache_folder() is None


def test_nothing_is_kept_where_nothing_can_be_written(tmp_path, monkeypatch):
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    monkeypatch.setenv(VARIABLE, str(in_the_way))
    unwritable = cache_folder()
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    assert unwritable is None
    assert cache_folder() is None
