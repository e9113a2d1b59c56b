"""The benchmarks' own machinery, on work whose speed is known."""

import pytest

from bandit.wire import router_pb2
from benchmarks.__main__ import row
from benchmarks.contest import Contest, Measured, measure
from benchmarks.growth import steepest
from benchmarks.wire.load import body_of


def test_a_contest_is_the_median_of_paired_ratios() -> None:
    ours, other = iter([0.0, 6.0, 8.0, 90.0]), iter([0.0, 3.0, 2.0, 9.0])
    contest = Contest("c", lambda: next(ours), lambda: next(other), floor=3, aim=5, rounds=3)

    measured = measure(contest)

    assert measured.ratios == [2.0, 4.0, 10.0]
    assert measured.ratio == 4.0
    assert measured.verdict == "holds"


def test_a_row_says_what_is_missed_and_what_was_before() -> None:
    measured = Measured(
        "a contest", "per second", floor=2, aim=4, ours=[3.0, 1.0], other=[2.0, 2.0]
    )

    told = row(measured, {"ratio": 1.25})

    assert told.split()[:2] == ["a", "contest"]
    assert "missed" in told
    assert "1.25" in told
    assert "0.50 to 1.50" in told


def test_a_body_is_a_message_as_grpc_frames_it() -> None:
    message = router_pb2.SelectRequest(policy="p").SerializeToString()

    assert body_of(message) == b"\0" + len(message).to_bytes(4, "big") + message


def test_the_steepest_growth_is_told_beside_what_arms_and_features_allow() -> None:
    """From 2 x 16 to 5 x 32 the allowance is 10; neither 2 x 32 nor 5 x 16 contains the other."""
    costs = {(2, 16): 1.0, (2, 32): 3.0, (5, 16): 0.1, (5, 32): 12.0}

    pair, growth = steepest(costs)

    assert pair == ((5, 16), (5, 32))
    assert growth == pytest.approx(30.0)
