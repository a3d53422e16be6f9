"""The outer edge: one HAProxy in front of every model, and the process that keeps it in step with the replicas."""
