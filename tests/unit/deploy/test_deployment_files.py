"""What the deployment files say is true of this program, and safe to start from."""

import re
import shlex
from pathlib import Path

import pytest
import typer
import yaml

from bandit.wire import catalog_pb2, feedback_pb2, learning_pb2, router_pb2
from services.cli.main import app
from services.settings import Settings
from tests.unit.deploy import files

# Of the command line and of processes; settings are `Settings`.
OTHERS = {
    "BANDIT_CONFIG",
    "BANDIT_KERNEL_CACHE",
    "BANDIT_TARGET",
    "BANDIT_KEY",
    "BANDIT_CA",
    "BANDIT_CERTIFICATE",
    "BANDIT_CERTIFICATE_KEY",
}
SERVICES = {
    service.full_name
    for file in (router_pb2, feedback_pb2, catalog_pb2, learning_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
}
PLACEHOLDER = re.compile(r"PASSWORD|\$\(cat secrets/postgres_password\)")
PROBES = ("startup", "liveness", "readiness")
MOST_TO_WRITE_S = 0.5  # of what waits, at the end of the grace


def by_name(pod: files.Pod) -> str:
    return f"{pod.kind}-{pod.name}"


@pytest.mark.parametrize("path", files.texts())
def test_every_variable_that_is_named_is_a_setting(path: str):
    named = set(re.findall(r"\bBANDIT_[A-Z0-9_]*[A-Z0-9]", files.texts()[path]))

    known = {f"BANDIT_{key.upper()}" for key in Settings.model_fields}
    assert named - known - OTHERS == set()


@pytest.mark.parametrize("path", files.texts())
def test_nothing_secret_is_in_a_file_and_nothing_is_fetched_from_an_address(path: str):
    text = files.texts()[path]

    assert not re.search(r"https?://", text)
    assert "PRIVATE KEY" not in text
    passwords = re.findall(r"postgres(?:ql)?://[^:@\s]+:([^@\s]+)@", text)
    assert all(PLACEHOLDER.fullmatch(password) for password in passwords)


def test_every_command_line_is_one_of_the_program_s():
    program = typer.main.get_command(app)

    for where, words in files.commands():
        command = program.commands[words[0]]
        context = command.make_context(words[0], list(words[1:]))
        assert context.params is not None, where


# The image


def test_the_image_is_not_root_s_and_says_so_by_a_number():
    steps = files.final_stage()
    (user,) = [rest for name, rest in steps if name == "USER"]

    assert [int(number) for number in user.split(":")] == [10001, 10001]
    names = [name for name, _ in steps]
    assert names.index("USER") > max(
        number for number, name in enumerate(names) if name in ("RUN", "COPY")
    )


def test_the_image_takes_what_has_its_hash_in_the_lock_and_compiles_nothing():
    installs = [
        command
        for name, rest in files.instructions()
        if name == "RUN"
        for command in rest.split("&&")
        if "pip install" in command
    ]

    assert installs
    for command in installs:
        of_ours = command.endswith(".whl")
        assert of_ours == ("--require-hashes" not in command)
        assert of_ours or "--only-binary :all:" in command
        assert not of_ours or "--no-deps" in command
    text = (files.PROJECT / "Dockerfile").read_text()
    assert not re.search(r"apt-get|\bgcc\b|build-essential", text)


def test_the_last_stage_holds_the_program_and_no_kernels():
    steps = files.final_stage()

    assert [rest for name, rest in steps if name == "COPY"] == [
        "--from=build /opt/bandit-router /opt/bandit-router"
    ]
    folder = files.image_environment()["BANDIT_KERNEL_CACHE"]
    made = [rest for name, rest in steps if name == "RUN" and f"--mode 0700 {folder}" in rest]
    assert len(made) == 1
    assert "import" not in made[0]
    assert "pip" not in made[0]


def test_the_image_s_program_is_the_first_process_and_gets_the_signals():
    steps = dict(files.final_stage())

    assert yaml.safe_load(steps["ENTRYPOINT"]) == ["bandit-router"]
    assert yaml.safe_load(steps["CMD"]) == ["serve"]
    assert 'CMD ["bandit-router", "health"]' in steps["HEALTHCHECK"]


def test_what_the_image_copies_is_there_and_is_let_in():
    let_in = {
        line[1:]
        for line in (files.PROJECT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }

    copied = set()
    for name, rest in files.instructions():
        if name == "COPY" and not rest.startswith("--from"):
            copied |= {word.removeprefix("./") for word in rest.split()[:-1]}
    assert copied == let_in
    assert all((files.PROJECT / path).exists() for path in copied)


# Kubernetes


@pytest.mark.parametrize("pod", files.pods(), ids=by_name)
def test_a_pod_may_do_nothing_that_it_need_not(pod: files.Pod):
    security = pod.spec["securityContext"]
    of_container = pod.container["securityContext"]

    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] == 10001
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert of_container["readOnlyRootFilesystem"] is True
    assert of_container["allowPrivilegeEscalation"] is False
    assert of_container["capabilities"] == {"drop": ["ALL"]}
    assert pod.spec["automountServiceAccountToken"] is False
    # A Service called `bandit` would set BANDIT_PORT to what is no port.
    assert pod.spec["enableServiceLinks"] is False


@pytest.mark.parametrize("pod", files.pods(), ids=by_name)
def test_a_pod_says_what_it_needs_and_takes_its_url_from_a_secret(pod: files.Pod):
    resources = pod.container["resources"]
    (url,) = [each for each in pod.container["env"] if each["name"] == "BANDIT_DATABASE_URL"]

    assert {"cpu", "memory"} <= set(resources["requests"])
    assert "memory" in resources["limits"]
    reference = url["valueFrom"]["secretKeyRef"]
    secrets = {
        each["metadata"]["name"]: each
        for each in files.documents(files.KUBERNETES / "secret.example.yaml")
    }
    assert reference["key"] in secrets[reference["name"]]["stringData"]


@pytest.mark.parametrize(
    "pod", [pod for pod in files.pods() if pod.container["args"] != ["migrate"]], ids=by_name
)
def test_a_process_keeps_its_kernels_in_a_folder_of_its_own(pod: files.Pod):
    folder = files.image_environment()["BANDIT_KERNEL_CACHE"]
    (mount,) = [each for each in pod.container["volumeMounts"] if each["mountPath"] == folder]
    (volume,) = [each for each in pod.spec["volumes"] if each["name"] == mount["name"]]

    assert "emptyDir" in volume
    assert pod.spec["securityContext"]["fsGroup"] == 10001


@pytest.mark.parametrize(
    "pod", [pod for pod in files.pods() if pod.container["args"] != ["migrate"]], ids=by_name
)
def test_a_pod_is_given_longer_to_end_than_it_takes(pod: files.Pod):
    (settings,) = [each for each in files.manifests() if each["kind"] == "ConfigMap"]
    grace_s = float(settings["data"]["BANDIT_GRACE_S"])
    stop = pod.container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", [])
    before_s = float(stop[1]) if stop else 0.0

    assert pod.spec["terminationGracePeriodSeconds"] > before_s + grace_s + MOST_TO_WRITE_S


def test_the_router_s_probes_ask_for_services_that_exist():
    (router,) = [pod for pod in files.pods() if pod.container["args"] == ["serve"]]
    (settings,) = [each for each in files.manifests() if each["kind"] == "ConfigMap"]
    probes = {key: router.container[f"{key}Probe"]["grpc"] for key in PROBES}

    assert {str(probe["port"]) for probe in probes.values()} == {settings["data"]["BANDIT_PORT"]}
    # Alive is not ready: a router without its database must not be killed for it.
    assert "service" not in probes["startup"]
    assert "service" not in probes["liveness"]
    assert probes["readiness"]["service"] in SERVICES


def test_what_a_kustomization_names_is_there_and_nothing_is_forgotten():
    for path in files.KUBERNETES.rglob("kustomization.yaml"):
        (document,) = files.documents(path)
        named = [*document.get("resources", []), *document.get("components", [])]
        named += [patch["path"] for patch in document.get("patches", [])]
        assert all((path.parent / name).exists() for name in named), path
        beside = {each.name for each in path.parent.glob("*.yaml")}
        assert beside - {path.name, "secret.example.yaml"} <= set(named), path


def test_nothing_says_in_which_namespace_it_is():
    assert not any("namespace" in each["metadata"] for each in files.manifests())


# Compose


def test_compose_starts_one_after_the_other():
    services = files.compose()["services"]

    after = {
        name: {other: each["condition"] for other, each in service.get("depends_on", {}).items()}
        for name, service in services.items()
    }
    migrated = {"migrate": "service_completed_successfully"}
    assert after == {
        "postgres": {},
        "migrate": {"postgres": "service_healthy"},
        "router": migrated,
        "learner": migrated,
    }
    assert "test" in services["postgres"]["healthcheck"]
    assert "test" in services["router"]["healthcheck"]


def test_compose_takes_secrets_from_files_that_git_does_not_see():
    composed = files.compose()
    ignored = (files.PROJECT / ".gitignore").read_text().split()

    kept_apart = [secret["file"] for secret in composed["secrets"].values()]
    for service in composed["services"].values():
        kept_apart += service.get("env_file", [])
        assert set(service.get("secrets", [])) <= set(composed["secrets"])
    for path in kept_apart:
        assert any(f"/{path}".startswith(line) for line in ignored), path


def test_compose_gives_our_processes_a_read_only_root_and_a_private_folder():
    folder = files.image_environment()["BANDIT_KERNEL_CACHE"]

    for name in ("migrate", "router", "learner"):
        service = files.compose()["services"][name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        (mount,) = service["tmpfs"]
        assert mount.startswith(f"{folder}:")
        assert "mode=0700" in mount
        assert "uid=10001" in mount


# systemd


@pytest.mark.parametrize("path", files.UNITS, ids=lambda path: path.name)
def test_a_unit_is_not_root_s_and_is_shut_in(path: Path):
    unit = files.unit(path)

    assert unit["User"] == ["bandit-router"]
    assert unit["EnvironmentFile"] == ["/etc/bandit-router/environment"]
    for key, value in {
        "NoNewPrivileges": "yes",
        "ProtectSystem": "strict",
        "ProtectHome": "yes",
        "PrivateTmp": "yes",
        "CapabilityBoundingSet": "",
        "CacheDirectoryMode": "0700",
    }.items():
        assert unit[key] == [value]
    # What compiles its kernels needs memory that is written and run.
    assert "MemoryDenyWriteExecute" not in unit
    (cache,) = unit["CacheDirectory"]
    words = [word for line in unit["Environment"] for word in shlex.split(line)]
    assert f"BANDIT_KERNEL_CACHE=%C/{cache}" in words


def test_a_unit_is_given_longer_to_end_than_it_takes():
    example = (files.PROJECT / "deploy/systemd/environment.example").read_text()
    (grace,) = re.findall(r"^BANDIT_GRACE_S=(\d+)$", example, flags=re.MULTILINE)

    for path in files.UNITS:
        unit = files.unit(path)
        if unit.get("Restart") == ["always"]:
            assert float(unit["TimeoutStopSec"][0]) > float(grace) + MOST_TO_WRITE_S
            assert unit["RestartPreventExitStatus"] == ["2"]  # bad settings stay bad
