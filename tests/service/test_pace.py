"""What is known of a busy process's pace."""

import pytest

from services.router.pace import BUSY, Pace


class World:
    def __init__(self):
        self.now = 0.0
        self.pace = Pace(lambda: self.now)

    def run(self, *, per_second, for_s, under_way=BUSY):
        for _ in range(round(per_second * for_s)):
            self.now += 1 / per_second
            self.pace.end(under_way)


def test_a_call_waits_for_those_before_it():
    world = World()

    world.run(per_second=1000, for_s=1)

    assert world.pace.wait_s(500) == pytest.approx(0.5, rel=0.05)


def test_the_newest_pace_counts():
    world = World()
    world.run(per_second=1000, for_s=1)

    world.run(per_second=100, for_s=1)

    assert world.pace.wait_s(500) == pytest.approx(5.0, rel=0.05)


def test_what_an_idle_process_is_asked_for_is_not_what_it_can_do():
    world = World()

    world.run(per_second=10, for_s=10, under_way=1)

    assert world.pace.wait_s(1000) == 0


def test_a_pause_between_two_crowds_is_not_counted():
    world = World()
    world.run(per_second=1000, for_s=0.3)
    world.run(per_second=1, for_s=5, under_way=0)

    world.run(per_second=1000, for_s=0.3)

    assert world.pace.wait_s(1000) == pytest.approx(1.0, rel=0.05)


def test_few_do_not_wait_and_an_old_pace_is_forgotten():
    world = World()
    world.run(per_second=1000, for_s=1)

    assert world.pace.wait_s(BUSY - 1) == 0

    world.now += 20
    assert world.pace.wait_s(1000) == 0
