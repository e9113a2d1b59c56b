"""How a call of `calls` looks as a method of a client, to `help` and to editors."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def described_by(call: Callable[..., Any]) -> Callable[[F], F]:
    """Give a method the docstring and the arguments of `call`."""

    def describe(method: F) -> F:
        functools.update_wrapper(method, call)
        itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        signature = inspect.signature(call)
        method.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[itself, *signature.parameters.values()],
            return_annotation=inspect.Signature.empty,
        )
        return method

    return describe
