"""From whatever went wrong to one line for a person and an exit code for a script."""

import sys

FAILED = 1
BAD_USAGE = 2
INTERRUPTED = 130


class CommandError(Exception):
    """A command that did not do what it was asked to; `hint` says what to do about it."""

    def __init__(self, message: str, *, hint: str = "", exit_code: int = FAILED) -> None:
        super().__init__(f"{message}: {hint}" if hint else message)
        self.exit_code = exit_code


def explain(error: Exception) -> tuple[str, int]:
    """The line and the exit code; an error that nobody foresaw is named with its class."""
    from typer.exceptions import TyperException

    if isinstance(error, TyperException):
        return error.format_message(), BAD_USAGE if error.exit_code == BAD_USAGE else FAILED
    if isinstance(error, CommandError):
        return str(error), error.exit_code
    # Whoever raised one of the following has imported its module: no other need be loaded here.
    if (kind := _loaded("bandit.client.errors", "RouterError")) and isinstance(error, kind):
        return _explain_call(error)
    if (kind := _loaded("bandit.domain.errors", "InvalidInput")) and isinstance(error, kind):
        return str(error), BAD_USAGE
    if (kind := _loaded("services.settings", "BadSettings")) and isinstance(error, kind):
        return str(error), BAD_USAGE
    for module, name in (
        ("bandit.domain.errors", "BanditError"),
        ("bandit.store.postgres.embedded", "PostgresStartFailed"),
        ("services.supervisor", "StackStartFailed"),
    ):
        if (kind := _loaded(module, name)) and isinstance(error, kind):
            return str(error), FAILED
    if isinstance(error, OSError):
        return str(error), FAILED
    return f"unforeseen {type(error).__name__}: {error}", FAILED


def is_foreseen(error: Exception) -> bool:
    """Whether the line says all there is to say; if not, the stack may help."""
    return not explain(error)[0].startswith("unforeseen ")


def was_interrupted(error: BaseException | None) -> bool:
    """Whether Ctrl-C is behind an error: a library that it hits may fail while it tidies up."""
    if error is None or isinstance(error, KeyboardInterrupt):
        return error is not None
    return was_interrupted(error.__cause__) or was_interrupted(error.__context__)


def one_line(message: str) -> str:
    """A message without line breaks."""
    return " ".join(message.split())


def _explain_call(error: Exception) -> tuple[str, int]:
    from bandit.client.errors import (
        InvalidArgumentError,
        RouterError,
        UnauthenticatedError,
        UnavailableError,
    )

    assert isinstance(error, RouterError)  # noqa: S101 - the caller has looked
    if error.field_violations:
        message = "; ".join(f"{v.field}: {v.problem}" for v in error.field_violations)
    else:
        message = error.message
    if isinstance(error, UnauthenticatedError):
        message = f"{message}; the key is taken from BANDIT_KEY"
    if isinstance(error, UnavailableError) and not error.reason:
        message = f"no service answers ({message}): check --target, or start one: bandit-router up"
    return message, BAD_USAGE if isinstance(error, InvalidArgumentError) else FAILED


def _loaded(module: str, name: str) -> type | None:
    loaded = sys.modules.get(module)
    return getattr(loaded, name, None)
