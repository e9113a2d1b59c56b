"""The way `replay` reads its command line: `--at` takes three words, and may be repeated."""

from typing import Any

from typer.core import TyperCommand

AT = "--at"
WORDS = 3


class ReplayCommand(TyperCommand):
    """A command whose `--at POSITION WHAT WHICH` is one value of three words."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Typer has no repeated option of several words: they are made one."""
        return super().parse_args(ctx, joined(args))


def joined(arguments: list[str]) -> list[str]:
    """The arguments with the words after each `--at` in one; quoted ones are left as they are."""
    result: list[str] = []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        result.append(argument)
        if argument == AT and rest and " " not in rest[0]:
            result.append(" ".join(rest[:WORDS]))
            del rest[:WORDS]
    return result
