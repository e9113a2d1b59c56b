"""
A reduced form of `make learning`: a seed or two of every experiment of docs/learning.md.

So few seeds prove no bound.  They may miss it by four standard errors, by the deviations over
seeds that the document gives, and a bound that holds for every seed holds for these.
"""

import os
from math import sqrt

import pytest

from benchmarks.learning.__main__ import DOCUMENT, EXPERIMENTS
from benchmarks.learning.document import deviations

STANDARD_ERRORS = 4.0
SEEDS = {
    "cells": 1,
    "scalar": 1,
    "three": 2,
    "delays": 1,
    "gaps": 1,
    "cold": 1,
    "warm": 1,
    "many": 1,
    "cut": 2,
    "degraded": 2,
    "added": 1,
    "priors": 1,
}


def test_every_experiment_is_played_but_the_one_over_the_wire():
    """That one plays two routers for minutes; tests/service has a shorter stream for it."""
    assert set(SEEDS) == set(EXPERIMENTS) - {"wire"}


@pytest.mark.skipif(
    "BANDIT_DATA" not in os.environ,
    reason="BANDIT_DATA is not set: replay on the development tables not run",
)
@pytest.mark.data
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", SEEDS)
def test_what_the_document_says_comes_out(name):
    make, _ = EXPERIMENTS[name]
    experiment = make(range(SEEDS[name]))

    played = experiment.play(
        list(experiment.trials.values()),
        list(experiment.seeds),
        on_decisions=lambda _: None,
        processes=1,
    )

    section = experiment.read(dict(zip(experiment.trials, played, strict=True)))
    published = deviations(DOCUMENT, section.title)
    bounded = [figure for figure in section.figures if figure.bound is not None]
    allowed = {
        figure.claim: STANDARD_ERRORS * published[figure.claim] / sqrt(len(experiment.seeds))
        for figure in bounded
    }
    missed = [figure for figure in bounded if figure.excess > allowed[figure.claim]]
    assert bounded
    assert not missed, [(figure.claim, figure.measured, figure.bound) for figure in missed]
