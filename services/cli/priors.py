"""`--prior-from`: what a table of recorded outcomes says of arms, fitted where the command runs."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bandit.domain.errors import InvalidInput
from bandit.domain.offline_prior import DEFAULT_STRENGTH, MOST_STRENGTH
from bandit.domain.policy import ContextSource, PolicySettings
from services.cli.output import show_note

if TYPE_CHECKING:
    from bandit.client import Arm

PriorFrom = Annotated[
    Path | None,
    typer.Option(
        "--prior-from",
        metavar="FILE",
        help="Recorded outcomes as `replay` reads them: those of a model named like the arm count "
        "as a few of the arm's own.",
    ),
]
PriorStrength = Annotated[
    float,
    typer.Option(
        "--prior-strength",
        metavar="N",
        help=f"As how many outcomes, above 0 to {MOST_STRENGTH:g}, and at most the recorded ones.",
    ),
]
PriorVectors = Annotated[
    Path | None,
    typer.Option(
        "--prior-vectors",
        metavar="FILE.npz",
        help="The vectors of the recorded queries, where requests bring vectors: arrays query_id "
        "and embedding.",
    ),
]
_OPTIONS = {
    "outcomes": "--prior-from",
    "arms": "--prior-from",
    "vectors": "--prior-vectors",
    "prior.strength": "--prior-strength",
}


def with_priors(
    arms: "Iterable[Arm]",
    settings: PolicySettings,
    *,
    file: Path | None,
    vectors: Path | None = None,
    strength: float = DEFAULT_STRENGTH,
) -> "list[Arm]":
    """The arms with what the file says of them; a model of which it says nothing is left as is."""
    declared = list(arms)
    if file is None:
        if vectors is not None:
            raise InvalidInput("--prior-vectors", "is for --prior-from")
        return declared
    try:
        return _fitted(declared, settings, file, vectors, strength)
    except InvalidInput as error:
        raise InvalidInput(_OPTIONS.get(error.field, error.field), error.problem) from None


def _fitted(
    arms: "list[Arm]", settings: PolicySettings, file: Path, vectors: Path | None, strength: float
) -> "list[Arm]":
    from bandit.evaluation.offline import offline_priors, prior_contexts, read_recorded
    from bandit.evaluation.table import read_vectors
    from bandit.features.encoder import WordLlamaEncoder

    table = read_recorded(file, [arm.name for arm in arms])
    if (settings.context.source is ContextSource.VECTOR) != (vectors is not None):
        problem = "are needed" if vectors is None else "are not read"
        raise InvalidInput("vectors", f"{problem}: see the policy's context")
    own = None if vectors is None else read_vectors(vectors, table.query_ids)
    if own is not None and own.shape[1] != settings.context.vector_length:
        raise InvalidInput(
            "vectors", f"has {own.shape[1]} numbers each, not {settings.context.vector_length}"
        )
    priors = offline_priors(
        table,
        prior_contexts(table, settings, WordLlamaEncoder(), own),
        settings,
        {arm.name: arm.price for arm in arms if arm.price is not None},
        strength=strength,
    )
    left_out = f", {table.dropped} left out" if table.dropped else ""
    show_note(f"priors of {', '.join(table.models)} from {len(table)} queries{left_out}")
    return [replace(arm, offline=priors.get(arm.name, {})) for arm in arms]
