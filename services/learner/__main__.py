"""`python -m services.learner`: the settings' learner, until it is told to stop."""

import os
import sys

from services.child import Parent, parent
from services.lean import do_without_blas
from services.settings import BadSettings, Settings


def main() -> int:
    """Exit status: 0 stopped as told, 1 failed, 2 bad settings."""
    supervisor = parent()
    try:
        if supervisor is None:
            Settings.load().database_dsn  # noqa: B018 - refuses before the kernels compile
        return _learn(supervisor)
    except BadSettings as error:
        print(error, file=sys.stderr)
        return 2


def _learn(supervisor: Parent | None) -> int:
    do_without_blas()
    # Imported here: compiling the kernels takes seconds, while the supervisor's orders come.
    from services.learner.process import learn
    from services.logs import configure
    from services.telemetry.endpoint import CannotTellMetrics

    settings = Settings.load(**(supervisor.orders() if supervisor is not None else {}))
    configure(settings, process="learner")
    try:
        learn(settings, tell_ready=supervisor.tell_ready if supervisor is not None else None)
    except CannotTellMetrics as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    try:
        status = main()
    except KeyboardInterrupt:
        status = 130
    sys.stderr.flush()
    os._exit(status)  # all is closed by now; taking the compiler apart would cost 0.7 s
