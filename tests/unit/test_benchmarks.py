"""The benchmarks' own machinery, on work whose speed is known."""

from bandit.wire import router_pb2
from benchmarks.__main__ import row
from benchmarks.contest import Contest, Measured, measure
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
