"""Processes: the gRPC server, the learner, and what runs them."""
