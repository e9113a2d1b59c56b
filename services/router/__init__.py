"""The process that serves gRPC."""
