"""
Carry out the Dockerfile without Docker, and run what comes of it as it would be run.

    sudo .venv/bin/python -m scripts.rehearse_image

Each stage is a layer over this machine's own root, which stands in for the base image and stays as
it is.  Every RUN and COPY is carried out as it is written; then the schema is migrated and a
router and a learner are run with a read-only root, as the image's user, without a capability, on
a Postgres of this project.  Needs Linux, root, a Python 3.11 in the path, and the package index.
What it cannot see: the base image's own files.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bandit.store.postgres.embedded import EmbeddedPostgres
from tests.faults.proxy import Proxy, proxied, target_of

PROJECT = Path(__file__).resolve().parents[1]
CACHE = "/var/cache/bandit-router"
PORT = 50087
START_S = 180.0


@dataclass
class Stage:
    """What a FROM begins: its own files over this machine's."""

    name: str
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    workdir: str = "/"
    user: str = "0:0"
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)

    @property
    def upper(self) -> Path:
        """What the stage has written."""
        return self.folder / "upper"

    @property
    def root(self) -> Path:
        """Where the stage is seen whole."""
        return self.folder / "root"

    def mount(self, *, read_only: bool = False) -> None:
        """Lay the stage over this machine's root."""
        for name in ("upper", "work", "root"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        layers = f"lowerdir=/,upperdir={self.upper},workdir={self.folder / 'work'}"
        _do("mount", "-t", "overlay", "overlay", "-o", layers, str(self.root))
        if read_only:
            _do("mount", "-o", "remount,ro", str(self.root))
        _do("mount", "--rbind", "/proc", f"{self.root}/proc")
        _do("mount", "--rbind", "/dev", f"{self.root}/dev")

    def unmount(self) -> None:
        """Take it away again."""
        _do("umount", "--recursive", "--lazy", str(self.root))

    def run(self, command: str) -> None:
        """A RUN, as root of the stage."""
        words = ["chroot", str(self.root), "/bin/sh", "-euc", f"cd {self.workdir}; {command}"]
        subprocess.run(words, env=self._all(), check=True)

    def _all(self) -> dict[str, str]:
        passed = {
            name: value
            for name, value in os.environ.items()
            if name == "PATH" or name.startswith(("PIP_", "UV_", "SSL_"))
        }
        return {**passed, "HOME": "/root", **self.environment}


def main() -> int:
    """Exit status 0: everything went as it should."""
    if os.geteuid() != 0:
        print("root is needed, for mounts that only this process sees", file=sys.stderr)
        return 2
    if "--inside" not in sys.argv:
        inside = ["unshare", "--mount", "--propagation", "private", sys.executable, *sys.argv]
        return subprocess.run([*inside, "--inside"], check=False).returncode
    folder = Path(tempfile.mkdtemp(prefix="bandit-image-"))
    try:
        final = build(folder)
        look_at(final)
        rehearse(final)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print("all of it went as it should")
    return 0


def build(folder: Path) -> Stage:
    """Carry out the Dockerfile; the last stage."""
    stages: list[Stage] = []
    for name, rest in instructions():
        if name == "ARG":
            continue
        if name == "FROM":
            alias = rest.partition(" AS ")[2] or "final"
            stages.append(Stage(alias, folder / alias))
            stages[-1].mount()
            # This machine's Python may be root's own: in the image it is everybody's.
            (stages[-1].root / "root").chmod(0o755)
            continue
        stage = stages[-1]
        if name == "RUN":
            began = time.monotonic()
            stage.run(rest)
            print(f"RUN   {time.monotonic() - began:5.1f} s  {rest[:90]}")
        elif name == "COPY":
            copy(stages, rest)
            print(f"COPY  {rest}")
        elif name == "ENV":
            for pair in shlex.split(rest):
                key, _, value = pair.partition("=")
                known = {"PATH": os.environ["PATH"], **stage.environment}
                stage.environment[key] = re.sub(
                    r"\$(\w+)", lambda found, known=known: known[found[1]], value
                )
        elif name == "WORKDIR":
            stage.workdir = rest
            (stage.root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
        elif name == "USER":
            stage.user = rest
        elif name == "ENTRYPOINT":
            stage.entrypoint = json.loads(rest)
        elif name == "CMD":
            stage.command = json.loads(rest)
    for stage in stages:
        stage.unmount()
    return stages[-1]


def copy(stages: list[Stage], rest: str) -> None:
    """A COPY: of what git knows here, or of an earlier stage."""
    words = rest.split()
    stage, *others = reversed(stages)
    if words[0].startswith("--from="):
        (source,) = [each for each in others if each.name == words[0].removeprefix("--from=")]
        _do("cp", "--archive", f"{source.root}{words[1]}", f"{stage.root}{words[2]}")
        return
    *sources, target = words
    assert target.startswith("./"), rest
    listed = ["git", "-C", str(PROJECT), "ls-files", "--", *sources]
    for name in subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split():
        to = stage.root / stage.workdir.lstrip("/") / name
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PROJECT / name, to)


def look_at(final: Stage) -> None:
    """The last layer holds the program, and no kernels, no installer, no compiler."""
    written = [path for path in final.upper.rglob("*") if path.is_file() and not path.is_symlink()]
    mib = sum(path.stat().st_size for path in written) / 2**20
    names = {path.name for path in written}
    kernels = [str(path) for path in written if path.suffix in (".nbi", ".nbc")]
    tools = names & {"gcc", "cc", "ld", "pip", "uv", "make"}
    outside = {
        path.relative_to(final.upper).parts[0]
        for path in written
        if path.relative_to(final.upper).parts[0] not in ("opt", "etc")
    }
    print(f"the last layer: {len(written)} files, {mib:.0f} MiB")
    assert not kernels, kernels
    assert not tools, tools
    assert outside <= {"var"}, outside
    assert not any((final.upper / CACHE.lstrip("/")).iterdir())


def rehearse(final: Stage) -> None:
    """Migrate, serve, learn and end, as the image's user on a read-only root."""
    assert final.entrypoint == ["bandit-router"]
    with (
        EmbeddedPostgres.start(durable=False) as server,
        Proxy(target_of(server.url)) as proxy,
        ExitStack() as ending,
    ):
        url = proxied(server.url, proxy)  # by TCP, as from another machine
        final.mount(read_only=True)
        # The sources are not in the image.
        hidden = f"{final.root}/{PROJECT.relative_to('/').parts[0]}"
        _do("mount", "-t", "tmpfs", "-o", "ro", "tmpfs", hidden)
        uid, gid = final.user.split(":")
        options = f"uid={uid},gid={gid},mode=0700,size=64m,noexec,nosuid,nodev"
        _do("mount", "-t", "tmpfs", "-o", options, "tmpfs", f"{final.root}{CACHE}")
        began = time.monotonic()
        told = run(final, url, ["migrate"])
        print(f"migrate {time.monotonic() - began:.1f} s: {told.strip()}")
        began = time.monotonic()
        router = ending.enter_context(start(final, url, final.command))
        ending.callback(router.kill)
        learner = ending.enter_context(start(final, url, ["learn"]))
        ending.callback(learner.kill)
        health = ["health", "--target", f"127.0.0.1:{PORT}"]
        while True:
            assert time.monotonic() - began < START_S, "the router is not ready"
            assert router.poll() is None, "the router has ended"
            assert learner.poll() is None, "the learner has ended"
            try:
                told = run(final, url, health)
                break
            except subprocess.CalledProcessError:
                time.sleep(2.0)
        print(f"serve: ready after {time.monotonic() - began:.1f} s: {told.strip()}")
        target = ["--target", f"127.0.0.1:{PORT}"]
        run(final, url, ["policy", "create", "chat", "--arm", "a=1,2", *target])
        print(run(final, url, ["select", "chat", "hello", *target]).splitlines()[0])
        print(run(final, url, ["doctor", *target]).rstrip())
        for name, process in (("router", router), ("learner", learner)):
            status = Path(f"/proc/{process.pid}/status").read_text()
            facts = dict(re.findall(r"^(Uid|CapEff|NoNewPrivs|VmRSS):\s+(.*)$", status, re.M))
            print(f"{name}: {facts}")
            assert facts["Uid"].split() == [uid] * 4
            assert int(facts["CapEff"], 16) == 0
            began = time.monotonic()
            process.terminate()
            assert process.wait(20) == 0
            print(f"{name}: ended in good order after {time.monotonic() - began:.1f} s")
        final.unmount()


def start(final: Stage, url: str, arguments: list[str]) -> subprocess.Popen[str]:
    """A process of the image."""
    uid, gid = final.user.split(":")
    words = [
        *("chroot", str(final.root), "/usr/bin/setpriv", "--reuid", uid, "--regid", gid),
        *("--clear-groups", "--no-new-privs", "--bounding-set", "-all", "--inh-caps", "-all"),
        *("/bin/sh", "-c", f'cd {final.workdir} && exec "$@"', "sh"),
        *final.entrypoint,
        *arguments,
    ]
    given = {
        "PATH": os.environ["PATH"],
        **final.environment,
        "BANDIT_DATABASE_URL": url,
        "BANDIT_PORT": str(PORT),
    }
    return subprocess.Popen(words, env=given, stdout=subprocess.PIPE, text=True)


def run(final: Stage, url: str, arguments: list[str]) -> str:
    """A command of the image, to its end; what it prints."""
    process = start(final, url, arguments)
    told, _ = process.communicate(timeout=START_S)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, arguments, told)
    return told


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's, continued lines joined."""
    text = (PROJECT / "Dockerfile").read_text()
    kept = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", " ", kept)
    pairs = [line.partition(" ") for line in joined.splitlines() if line.strip()]
    return [(name, rest.strip()) for name, _, rest in pairs]


def _do(*words: str) -> None:
    subprocess.run(words, check=True)


if __name__ == "__main__":
    sys.exit(main())
