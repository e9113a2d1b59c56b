"""The use cases, and the ports they need, as protocols."""
