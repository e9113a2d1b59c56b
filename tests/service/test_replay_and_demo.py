"""Replay and demo, as their users run them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bandit.evaluation.table import OutcomeTable, subset
from bandit.evaluation.wheel import wheel_table
from services.supervisor import Stack

COMMAND = [sys.executable, "-c", "from services.cli.main import main; main()"]


def run(*arguments: object) -> str:
    """What the command prints; it must end well."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=170, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def write_outcomes(path: Path, table: OutcomeTable) -> None:
    """The long format that `replay` reads."""
    rows, models = np.indices(table.quality.shape)
    pq.write_table(
        pa.table(
            {
                "query_id": [table.query_ids[row] for row in rows.ravel()],
                "query": [table.texts[row] for row in rows.ravel()],
                "model": [table.models[model] for model in models.ravel()],
                "score": table.quality.ravel(),
                "cost_usd": table.cost_usd.ravel(),
            }
        ),
        path,
    )


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three hundred real prompts with the outcomes of three models, and their prices."""
    folder = tmp_path_factory.mktemp("outcomes")
    table, prices = wheel_table()
    write_outcomes(folder / "outcomes.parquet", subset(table, np.arange(300)))
    lines = ["model,price_in_per_m,price_out_per_m"]
    lines += [
        f"{model},{price.input_usd_per_million},{price.output_usd_per_million}"
        for model, price in prices.items()
    ]
    (folder / "prices.csv").write_text("\n".join(lines))
    return folder / "outcomes.parquet"


def test_a_replay_through_a_server_makes_the_decisions_of_a_replay_in_process(
    stack: Stack, outcomes: Path, tmp_path: Path
):
    arguments = [
        *("replay", outcomes, "--prices", outcomes.parent / "prices.csv"),
        *("--wave", 20, "--delay", 30, "--missing", 0.2, "--learn-first", 50),
        *("--preference", "random", "--seed", 5, "--json"),
    ]

    here = json.loads(run(*arguments, "--decisions", tmp_path / "here.parquet"))
    there = json.loads(
        run(*arguments, "--decisions", tmp_path / "there.parquet", "--target", stack.target)
    )

    ours, theirs = (pq.read_table(tmp_path / f"{name}.parquet") for name in ("here", "there"))
    assert ours["arm"].to_pylist() == theirs["arm"].to_pylist()
    assert ours["query_id"].to_pylist() == theirs["query_id"].to_pylist()
    for column in ("propensity", "predicted_quality", "predicted_cost_usd", "utility"):
        np.testing.assert_allclose(ours[column], theirs[column], rtol=1e-9, atol=1e-12)
    assert here["queries"] == there["queries"] == 250
    assert here["utility"] == there["utility"]


def test_the_shares_of_a_replay_are_those_of_its_decisions(outcomes: Path, tmp_path: Path):
    printed = json.loads(
        run(
            *("replay", outcomes, "--cost-range", "1e-5,1e-1", "--seeds", 2, "--json"),
            *("--decisions", tmp_path / "decisions.parquet"),
        )
    )

    rows = pq.read_table(tmp_path / "decisions.parquet").to_pylist()
    assert len(rows) == 2 * printed["queries"] == 600
    for arm, share in printed["shares"].items():
        assert share == pytest.approx(sum(row["arm"] == arm for row in rows) / len(rows))
    assert printed["quality"]["mean"] == pytest.approx(np.mean([row["score"] for row in rows]))
    assert printed["utility"]["mean"] == pytest.approx(np.mean([row["utility"] for row in rows]))


def test_a_replay_under_a_script_tells_its_phases_and_draws_its_pictures(
    outcomes: Path, tmp_path: Path
):
    printed = json.loads(
        run(
            *("replay", outcomes, "--prices", outcomes.parent / "prices.csv", "--json"),
            *("--seeds", 2, "--learn-first", 60, "--frontier", "--pictures", tmp_path / "drawn"),
            *("--at", 80, "price", "gemini=0.1x", "--at", 80, "quality", "mistral=0.5"),
            *("--at", 160, "remove", "LLAMA", "--decisions", tmp_path / "decisions.parquet"),
        )
    )

    rows = pq.read_table(tmp_path / "decisions.parquet").to_pylist()
    assert [(phase["start"], phase["end"]) for phase in printed["phases"]] == [
        (0, 80),
        (80, 160),
        (160, 240),
    ]
    for phase in printed["phases"]:
        within = [row for row in rows if phase["start"] <= row["position"] - 60 < phase["end"]]
        assert phase["quality"]["mean"] == pytest.approx(np.mean([r["score"] for r in within]))
        assert phase["cost_usd"]["mean"] == pytest.approx(np.mean([r["cost_usd"] for r in within]))
        for arm, share in phase["shares"].items():
            assert share == pytest.approx(np.mean([row["arm"] == arm for row in within]))
    assert printed["phases"][2]["shares"]["meta-llama/llama-3.1-8b-instruct"] == 0.0
    assert "quality mistralai/mistral-large-2512 x0.5" in printed["phases"][1]["changes"]
    for name in ("online_knn", "context_free"):
        assert {"quality", "cost_usd", "utility", "regret"} <= set(printed["references"][name])
    assert 0 < printed["aiq"]["over_range"]["mean"] < 1
    assert len(printed["frontier"]) > 5
    assert 0 < printed["arena_score"]["mean"] < 1
    for picture in printed["pictures"]:
        assert Path(picture).read_bytes().startswith(b"\x89PNG")
    assert {Path(picture).name for picture in printed["pictures"]} == {"frontier.png", "regret.png"}


def test_a_replay_under_a_script_through_a_server_makes_the_decisions_of_one_in_process(
    stack: Stack, outcomes: Path, tmp_path: Path
):
    arguments = [
        *("replay", outcomes, "--prices", outcomes.parent / "prices.csv", "--json", "--no-rivals"),
        *("--wave", 20, "--learn-first", 100, "--seed", 3, "--at", 60, "price", "mistral=0.1x"),
        *("--at", 120, "remove", "llama"),
    ]

    run(*arguments, "--decisions", tmp_path / "here.parquet")
    run(*arguments, "--decisions", tmp_path / "there.parquet", "--target", stack.target)

    ours, theirs = (pq.read_table(tmp_path / f"{name}.parquet") for name in ("here", "there"))
    assert ours["arm"].to_pylist() == theirs["arm"].to_pylist()
    for column in ("propensity", "predicted_cost_usd", "cost_usd"):
        np.testing.assert_allclose(ours[column], theirs[column], rtol=1e-9, atol=1e-12)


def test_a_replay_under_a_budget_through_a_server_makes_the_decisions_of_one_in_process(
    stack: Stack, outcomes: Path, tmp_path: Path
):
    """Whenever router, learner and ledger exchange: the account that decides is the same."""
    arguments = [
        *("replay", outcomes, "--prices", outcomes.parent / "prices.csv", "--json", "--no-rivals"),
        *("--budget-usd", 0.00025, "--wave", 20, "--delay", 30, "--learn-first", 100, "--seed", 2),
    ]

    run(*arguments, "--decisions", tmp_path / "here.parquet")
    run(*arguments, "--decisions", tmp_path / "there.parquet", "--target", stack.target)

    ours, theirs = (pq.read_table(tmp_path / f"{name}.parquet") for name in ("here", "there"))
    assert ours["arm"].to_pylist() == theirs["arm"].to_pylist()
    np.testing.assert_allclose(ours["propensity"], theirs["propensity"], rtol=1e-6, atol=1e-12)


def test_a_replay_with_a_budget_tells_how_much_of_it_was_used(outcomes: Path):
    printed = json.loads(
        run(
            *("replay", outcomes, "--prices", outcomes.parent / "prices.csv", "--json"),
            *("--budget-usd", 0.0004, "--no-rivals"),
        )
    )

    assert printed["utilisation"]["mean"] == pytest.approx(printed["cost_usd"]["mean"] / 0.0004)
    assert printed["utility"]["mean"] == pytest.approx(printed["quality"]["mean"])
    assert set(printed["references"]) == {"best_single", "cheapest", "zero_router", "oracle"}


def test_the_demo_is_as_good_as_the_best_single_model_at_every_preference(tmp_path: Path):
    result = json.loads(run("demo", "--seed", 0, "--json", "--output", tmp_path))

    assert len(result["preferences"]) == 3
    for row in result["preferences"]:
        assert row["utility"] >= row["best_single"]["utility"] - 0.01
    budget = result["budget"]
    assert budget["prompts"] == 1000
    assert 0.9 < budget["utilisation"] < 1.05
    assert budget["utilisation"] == pytest.approx(budget["cost_usd"] / budget["target_usd"])
    assert budget["quality"] > budget["zero_router"]["quality"]
    assert sum(budget["shares"].values()) == pytest.approx(1)
    for picture in result["pictures"]:
        assert Path(picture).read_bytes().startswith(b"\x89PNG")
    assert result["durable_decisions_per_second"] > 0


def test_the_demo_repeats_its_decisions_for_the_same_seed(tmp_path: Path):
    decisions = []
    for name in ("once", "again"):
        path = tmp_path / f"{name}.parquet"
        run(
            *("demo", "--seed", 4, "--queries", 200, "--json"),
            *("--output", tmp_path, "--decisions", path),
        )
        # The demo learns no latency, and a missing number equals nothing.
        decisions += [
            pq.read_table(file).drop_columns("predicted_latency_ms").to_pylist()
            for file in (path, tmp_path / f"{name}-budget.parquet")
        ]

    once, once_under_budget, again, again_under_budget = decisions
    assert once == again
    assert once_under_budget == again_under_budget
    assert len(once) == len(once_under_budget) == 180


def test_a_replay_that_is_killed_leaves_nothing_running(outcomes: Path):
    arguments = ["replay", outcomes, "--cost-range", "1e-5,1e-1", "--seeds", 200, "--no-rivals"]
    command = [*COMMAND, *map(str, arguments)]
    replay = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
    try:
        # It, a fork server, what cleans up after both, and a pass.
        _until(lambda: len(_members(replay.pid)) >= 4, within_s=120.0)

        replay.kill()
        replay.wait()

        _until(lambda: not _members(replay.pid))
    finally:
        with suppress(ProcessLookupError):
            os.killpg(replay.pid, signal.SIGKILL)
        replay.wait()


def _members(session: int) -> list[int]:
    """The living processes of a session."""
    members = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, _, of = status.read_text().rpartition(")")[2].split()[:4]
            if int(of) == session and state != "Z":
                members.append(int(status.parent.name))
    return members


def _until(holds: Callable[[], bool], *, within_s: float = 30.0) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)
