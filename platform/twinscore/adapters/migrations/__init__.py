"""Alembic migrations of the tables in `rollout_tables`; a released one is never changed, another follows it."""
