"""Scores and features that a batch run made, mapped read-only into the processes that serve; no Ray, no HTTP."""
