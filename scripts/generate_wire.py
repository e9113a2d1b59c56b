"""
Generate `bandit/wire` from `proto/`; with `--check`, only say whether it is up to date.

The modules are `bandit.wire.router_pb2` and so on, while the descriptors keep the names that every
other language and server reflection see (`bandit/router/v1/router.proto`): a caller who generates
stubs of their own may import ours as well, since both describe the same file.  `protoc` derives the
module's name from the file's, so that name is replaced after generating
(`docs/decisions/0003-wire-format.md`).
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"
WIRE = ROOT / "bandit" / "wire"

PACKAGE_FOLDER = "bandit/router/v1"
GENERATED_PACKAGE = re.compile(r"\bbandit\.router\.v1(?= import \w+_pb2|\.\w+_pb2)")
WIRE_PACKAGE = "bandit.wire"

INIT = '"""Messages and stubs generated from `proto/` by `make proto`; never edited."""\n'


def main() -> int:
    """Generate, or with `--check` compare; the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().splitlines()[0])
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 on a difference"
    )
    check = parser.parse_args().check

    wanted = generated()
    found = {path.name: path.read_text() for path in WIRE.glob("*.py*") if path.is_file()}
    stale = sorted(
        name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)
    )
    if check:
        for name in stale:
            print(f"bandit/wire/{name} differs from proto/: run `make proto`", file=sys.stderr)
        return 1 if stale else 0
    WIRE.mkdir(exist_ok=True)
    for name in stale:
        if name in wanted:
            (WIRE / name).write_text(wanted[name])
        else:
            (WIRE / name).unlink()
    return 0


def generated() -> dict[str, str]:
    """The text of each file of `bandit/wire`, by name."""
    with tempfile.TemporaryDirectory() as folder:
        _run_protoc(folder)
        texts = {
            path.name: GENERATED_PACKAGE.sub(WIRE_PACKAGE, path.read_text())
            for path in (Path(folder) / PACKAGE_FOLDER).iterdir()
        }
    return {"__init__.py": INIT, **texts}


def _run_protoc(folder: str) -> None:
    """Messages, stubs and their types into `folder`, with the tools of this interpreter."""
    tools = Path(sys.executable).parent  # where the plugins of mypy-protobuf are
    protos = sorted(
        str(path.relative_to(PROTO)) for path in PROTO.glob(f"{PACKAGE_FOLDER}/*.proto")
    )
    subprocess.run(
        [
            sys.executable,
            "-m",
            "grpc_tools.protoc",
            f"--proto_path={PROTO}",
            f"--proto_path={files('grpc_tools') / '_proto'}",
            f"--python_out={folder}",
            f"--grpc_python_out={folder}",
            f"--mypy_out=quiet:{folder}",
            f"--mypy_grpc_out=quiet:{folder}",
            *protos,
        ],
        check=True,
        env={**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ.get('PATH', '')}"},
    )


if __name__ == "__main__":
    sys.exit(main())
