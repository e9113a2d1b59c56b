"""What the wire allows, and what the service makes of it."""
