"""Learning and choosing: the library beneath the routing service."""
