"""The ports, kept in Postgres."""
