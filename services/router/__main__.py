"""`python -m services.router`: the settings' router, until it is told to stop."""

import os
import sys

from services.child import Parent, parent
from services.lean import do_without_blas
from services.listening import listening
from services.settings import BadSettings, Settings


def main() -> int:
    """Exit status: 0 stopped as told, 1 failed, 2 bad settings."""
    supervisor = parent()
    try:
        if supervisor is None:
            # Refuses before the kernels compile.
            settings = Settings.load()
            settings.database_dsn  # noqa: B018
            listening(settings)
        return _serve(supervisor)
    except BadSettings as error:
        print(error, file=sys.stderr)
        return 2


def _serve(supervisor: Parent | None) -> int:
    do_without_blas()
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what matters is raised, and told by us
    # Imported here: compiling the kernels takes seconds, while the supervisor's orders come.
    import uvloop

    from services.logs import configure
    from services.router.server import CannotListen, StoppedServing, serve
    from services.telemetry.endpoint import CannotTellMetrics

    def tell_ready(port: int) -> None:
        if supervisor is not None:
            supervisor.tell_ready(port=port)

    settings = Settings.load(**(supervisor.orders() if supervisor is not None else {}))
    configure(settings, process="router")
    try:
        # `asyncio.run` would wait for threads, and they may wait for a database that is silent.
        uvloop.new_event_loop().run_until_complete(serve(settings, tell_ready=tell_ready))
    except (CannotListen, CannotTellMetrics, StoppedServing) as error:
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
