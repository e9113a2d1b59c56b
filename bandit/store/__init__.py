"""The ports of `routing`, kept in Postgres or in memory."""
