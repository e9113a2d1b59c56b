import os
import subprocess
import sys

from bandit.kernels.cache import VARIABLE, cache_folder

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


def test_nothing_is_kept_where_nothing_can_be_written(tmp_path, monkeypatch):
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    monkeypatch.setenv(VARIABLE, str(in_the_way))
    unwritable = cache_folder()
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    assert unwritable is None
    assert cache_folder() is None
