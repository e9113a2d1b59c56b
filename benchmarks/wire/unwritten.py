"""`python -m benchmarks.wire.unwritten`: the router, whose decisions are stored nowhere."""

import asyncio
import sys
from collections.abc import Sequence

from bandit.domain.decision import Decision, Recorded
from bandit.store.postgres.decisions import PostgresDecisionLog


class Forgetful(PostgresDecisionLog):
    """Says at once that a decision is stored."""

    async def record(self, decisions: Sequence[Decision]) -> Sequence[Recorded | Exception]:
        """As if it were."""
        await asyncio.sleep(0)
        return [Recorded(decision) for decision in decisions]


if __name__ == "__main__":
    import services.router.compose as compose
    from services.router.__main__ import main

    compose.PostgresDecisionLog = Forgetful  # type: ignore[misc]
    sys.exit(main())
