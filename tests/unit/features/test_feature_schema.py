import itertools
import os
import subprocess
import sys

import pytest

from bandit.domain.policy import ContextSettings, ContextSource, NamedFeature
from bandit.features.schema import schema_of

TOOLS = NamedFeature("tools", mean=2.0, deviation=3.0)
DECLARED = {
    "text": ContextSettings(),
    "none": ContextSettings(source=ContextSource.NONE),
    "vector of 24": ContextSettings(source=ContextSource.VECTOR, vector_length=24),
    "vector of 25": ContextSettings(source=ContextSource.VECTOR, vector_length=25),
    "a feature": ContextSettings(named=(TOOLS,)),
    "another name": ContextSettings(named=(NamedFeature("turns", mean=2.0, deviation=3.0),)),
    "another mean": ContextSettings(named=(NamedFeature("tools", mean=2.5, deviation=3.0),)),
    "another deviation": ContextSettings(named=(NamedFeature("tools", mean=2.0, deviation=4.0),)),
    "two features": ContextSettings(named=(TOOLS, NamedFeature("depth"))),
    "in another order": ContextSettings(named=(NamedFeature("depth"), TOOLS)),
}


def test_a_text_gives_24_features_and_8_cues_and_the_constant():
    schema = schema_of(ContextSettings())

    assert (schema.embedding, schema.cues, schema.named) == (24, 8, 0)
    assert schema.features == 33


@pytest.mark.parametrize(("length", "features"), [(1, 2), (24, 25), (25, 25), (384, 25)])
def test_vectors_give_at_most_24_features_and_no_cues(length, features):
    schema = schema_of(ContextSettings(source=ContextSource.VECTOR, vector_length=length))

    assert schema.cues == 0
    assert schema.features == features


def test_named_features_are_appended():
    schema = schema_of(ContextSettings(source=ContextSource.NONE, named=(TOOLS,)))

    assert (schema.named, schema.features) == (1, 2)


def test_the_id_changes_with_each_ingredient():
    ids = {name: schema_of(settings).id for name, settings in DECLARED.items()}

    for (one, id_one), (other, id_other) in itertools.combinations(ids.items(), 2):
        assert id_one != id_other, f"{one} and {other}"


def test_the_id_is_the_same_in_another_process():
    """The hash of a string is salted per process; the id must not depend on it."""
    program = (
        "from bandit.domain.policy import ContextSettings, NamedFeature\n"
        "from bandit.features.schema import schema_of\n"
        "tools = NamedFeature('tools', mean=2.0, deviation=3.0)\n"
        "print(schema_of(ContextSettings(named=(tools,))).id)\n"
    )

    printed = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONHASHSEED": "12345", "PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
        check=True,
    )

    assert printed.stdout.strip() == schema_of(DECLARED["a feature"]).id
