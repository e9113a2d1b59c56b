"""Keys and client certificates in memory: the twin of `postgres/credentials`."""

from collections.abc import Sequence
from threading import Lock

from bandit.domain.credential import Credential


class MemoryCredentials:
    """Implements `routing.credentials.Credentials`."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._held: dict[str, Credential] = {}
        self._version = 0

    def put(self, credentials: Sequence[Credential]) -> None:
        with self._lock:
            self._held |= {each.id: each for each in credentials}
            self._version += 1

    def all(self) -> Sequence[Credential]:
        with self._lock:
            return sorted(self._held.values(), key=lambda each: (each.created_at, each.id))

    def version(self) -> int:
        with self._lock:
            return self._version
