"""What a process holds."""

from pathlib import Path


def resident_bytes(pid: int) -> int:
    """Memory of a process that is in use now."""
    return _kib(pid, "VmRSS") * 1024


def highest_resident_bytes(pid: int) -> int:
    """The most that it was, since the process began or `forget_highest`."""
    return _kib(pid, "VmHWM") * 1024


def forget_highest(pid: int) -> None:
    """Begin to look for the highest anew."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def open_files(pid: int) -> int:
    """Descriptors of a process."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def _kib(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return int(value.split()[0])
    raise ProcessLookupError(pid)
