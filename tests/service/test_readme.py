"""The README's example, run as it stands."""

import re
from pathlib import Path

from services.supervisor import Stack

README = Path(__file__).parents[2] / "README.md"


def test_the_python_example_works_as_it_stands(stack: Stack):
    example = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)[0]
    example = example.replace("127.0.0.1:50051", stack.target)
    asked = []

    def ask(arm: str, question: str) -> str:
        asked.append(arm)
        return "it has no divisor but 1 and itself"

    names = {"ask": ask, "rate": lambda answer: 0.9}
    exec(compile(example, "README.md", "exec"), names)  # noqa: S102 - our own page

    assert asked[0] in ("small", "large")
    with names["RouterClient"](stack.target) as client:
        state = client.state("chat")
    assert {arm.arm for arm in state.arms} == {"small", "large"}
