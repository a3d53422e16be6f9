"""The one path from a checked table, or one row, to scores; both batch and online call it."""
