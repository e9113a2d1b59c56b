"""Where settings come from, and what is said of those that cannot be used."""

import subprocess
import sys
from pathlib import Path

import pytest

from services.cli.main import run
from services.settings import MASK, BadSettings, EffectiveSetting, Settings


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No setting comes from where the tests happen to run."""
    monkeypatch.chdir(tmp_path)
    for key in (*Settings.model_fields, "config"):
        monkeypatch.delenv(f"BANDIT_{key.upper()}", raising=False)
    return tmp_path


def is_secret(key: str) -> bool:
    return "SecretStr" in str(Settings.model_fields[key].annotation)


def source_of(key: str, **explicit: object) -> EffectiveSetting:
    (found,) = [setting for setting in Settings.effective(**explicit) if setting.key == key]
    return found


def test_an_argument_beats_the_environment_that_beats_the_file_that_beats_the_default(
    empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert source_of("port") == EffectiveSetting("port", "50051", "default")
    (empty_folder / "bandit-router.toml").write_text("port = 1")
    assert source_of("port") == EffectiveSetting("port", "1", "bandit-router.toml")
    monkeypatch.setenv("BANDIT_PORT", "2")
    assert source_of("port") == EffectiveSetting("port", "2", "BANDIT_PORT")
    assert source_of("port", port=3) == EffectiveSetting("port", "3", "argument")
    assert Settings.load(port=3, host=None).port == 3


def test_a_file_is_named_by_the_environment(
    empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (empty_folder / "other.toml").write_text('log_format = "json"')
    monkeypatch.setenv("BANDIT_CONFIG", "other.toml")

    assert source_of("log_format") == EffectiveSetting("log_format", "json", "other.toml")


def test_a_secret_is_masked() -> None:
    shown = source_of("database_url", database_url="postgresql://me:secret@host/db")

    assert shown.value == MASK
    assert "secret" not in repr(Settings.load(database_url="postgresql://me:secret@host/db"))


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("port", "70000", "port (from BANDIT_PORT): must be from 0 to 65535; 0: any free port"),
        ("log_format", "xml", "log_format (from BANDIT_LOG_FORMAT): must be console or json"),
        ("grace_s", "nan", "grace_s (from BANDIT_GRACE_S): must be from 0 to 600 seconds"),
        ("max_batch", "many", "max_batch (from BANDIT_MAX_BATCH): must be from 1 to 65536"),
    ],
)
def test_a_bad_value_is_told_with_its_key_and_what_is_allowed(
    key: str, value: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"BANDIT_{key.upper()}", value)

    with pytest.raises(BadSettings) as raised:
        Settings.load()

    assert raised.value.key == key
    assert str(raised.value).startswith(told)


def test_a_bad_url_is_not_repeated() -> None:
    with pytest.raises(BadSettings) as raised:
        Settings.load(database_url="mysql://me:secret@host/db")

    assert "secret" not in str(raised.value)
    assert "postgresql://" in str(raised.value)


def test_a_key_that_is_no_setting_is_refused(empty_folder: Path) -> None:
    (empty_folder / "bandit-router.toml").write_text("prot = 1")

    with pytest.raises(BadSettings, match=r"prot .*: is no setting; they are .*port"):
        Settings.load()


@pytest.mark.parametrize("text", ["port = ", "\xff\xfe"])
def test_a_file_that_is_not_toml_is_told_of(empty_folder: Path, text: str) -> None:
    (empty_folder / "bandit-router.toml").write_bytes(text.encode("latin-1"))

    with pytest.raises(BadSettings, match="is not a TOML file"):
        Settings.load()


def test_a_missing_file_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BANDIT_CONFIG", "nowhere.toml")

    with pytest.raises(BadSettings, match=r"nowhere\.toml"):
        Settings.load()


@pytest.mark.parametrize("module", ["services.router", "services.learner"])
def test_a_process_with_bad_settings_ends_with_2(module: str) -> None:
    project = str(Path(__file__).resolve().parents[2])

    done = subprocess.run(
        [sys.executable, "-m", module],
        env={"PYTHONPATH": project, "BANDIT_PORT": "x"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2
    assert done.stderr.startswith("port (from BANDIT_PORT)")
    assert len(done.stderr.splitlines()) == 1


def test_neither_process_imports_what_is_the_others() -> None:
    project = str(Path(__file__).resolve().parents[2])
    program = "import sys, services.{0}; print([m for m in {1} if m in sys.modules])"

    for module, foreign in (
        ("router.server", ["river", "bandit.routing.learner"]),
        ("learner.process", ["grpc", "bandit.kernels.scoring"]),
    ):
        done = subprocess.run(
            [sys.executable, "-c", program.format(module, foreign)],
            env={"PYTHONPATH": project},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == "[]"


# Every setting there is, by what its field says of itself.


def least_and_most(key: str) -> list[float]:
    """What a number may be at the least and at the most, where it says so."""
    constraints = Settings.model_fields[key].metadata
    return [
        getattr(each, name)
        for each in constraints
        for name in ("ge", "le")
        if getattr(each, name, None) is not None
    ]


NUMBERS = [key for key in Settings.model_fields if least_and_most(key)]


@pytest.mark.parametrize("key", Settings.model_fields)
def test_every_setting_says_what_it_takes(key: str) -> None:
    description = Settings.model_fields[key].description

    assert description
    for bound in least_and_most(key):
        assert f"{bound:g}" in description.replace(",", "") or str(bound) in description


@pytest.mark.parametrize("key", Settings.model_fields)
@pytest.mark.parametrize("program", [["config", "show"], ["serve"], ["learn"], ["migrate"]])
def test_what_is_of_no_use_is_told_by_its_key_with_what_it_takes_and_2(
    key: str, program: list[str], empty_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (empty_folder / "bandit-router.toml").write_text(f'{key} = {{ no = "secret word" }}')

    code = run(program)

    told = capsys.readouterr()
    assert code == 2
    assert told.out == ""
    assert told.err.startswith(f"error: {key} (from bandit-router.toml): must be ")
    assert str(Settings.model_fields[key].description) in told.err
    assert told.err.count("\n") == 1
    if is_secret(key):
        assert "secret word" not in told.err


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (key, str(bound + step))
        for key in NUMBERS
        for bound, step in zip(least_and_most(key), (-1, 1), strict=True)
    ],
)
def test_a_number_that_is_too_small_or_too_large_is_refused(
    key: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(f"BANDIT_{key.upper()}", value)

    code = run(["config", "show"])

    told = capsys.readouterr().err
    assert code == 2
    assert told.startswith(f"error: {key} (from BANDIT_{key.upper()}): must be from ")


@pytest.mark.parametrize("key", NUMBERS)
def test_a_number_may_be_as_small_and_as_large_as_is_said(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for bound in least_and_most(key):
        monkeypatch.setenv(f"BANDIT_{key.upper()}", f"{bound:.0f}")
        assert getattr(Settings.load(), key) == bound


@pytest.mark.parametrize("key", [key for key in Settings.model_fields if is_secret(key)])
def test_a_secret_is_shown_nowhere(
    key: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    value = "postgresql://me:hunter2@host/db" if key == "database_url" else "hunter2" * 8
    monkeypatch.setenv(f"BANDIT_{key.upper()}", value)

    codes = [run(["config", "show"]), run(["config", "show", "--json"])]

    told = capsys.readouterr()
    assert codes == [0, 0]
    assert MASK in told.out
    assert "hunter2" not in told.out + told.err + repr(Settings.load())
