"""Follows the registry: drives each model's rollout by its policy; knows no HTTP of its own requests."""
