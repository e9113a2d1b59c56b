import pytest
from hypothesis import given
from hypothesis import strategies as st

from bandit.domain.errors import InvalidInput
from bandit.domain.label_rule import LabelRule, permitted

few_names = st.sampled_from("abc")
rules = st.lists(
    st.builds(
        LabelRule,
        few_names,
        few_names,
        st.lists(few_names, min_size=1, unique=True).map(tuple),
    )
)


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        *[("label", {"label": label}) for label in ("", "x" * 257, "nul\0")],
        *[("value", {"value": value}) for value in ("x" * 257, "nul\0")],
        ("arms", {"arms": ()}),
        ("arms", {"arms": tuple(f"arm-{number}" for number in range(257))}),
        ("arms[1]", {"arms": ("small", "")}),
        ("arms[1]", {"arms": ("small", "small")}),
    ],
)
def test_a_rule_that_cannot_be_is_refused_by_field(field, changes):
    with pytest.raises(InvalidInput) as refusal:
        LabelRule(**{"label": "pii", "value": "yes", "arms": ("small",), **changes})

    assert refusal.value.field == f"rule.{field}"


def test_a_rule_may_ask_for_an_empty_value():
    rule = LabelRule("pii", "", ("small",))

    assert permitted([rule], {"pii": ""}) == {"small"}
    assert permitted([rule], {}) is None


@given(rules=rules, labels=st.dictionaries(few_names, few_names))
def test_an_arm_is_permitted_if_no_matching_rule_leaves_it_out(rules, labels):
    kept = permitted(rules, labels)

    matching = [rule for rule in rules if rule.label in labels and labels[rule.label] == rule.value]
    assert (kept is None) == (not matching)
    for arm in "abc":
        assert (kept is None or arm in kept) == all(arm in rule.arms for rule in matching)
