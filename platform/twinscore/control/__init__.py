"""Follows the registry: drives each model's rollout by its policy, and makes Serve and aliases what is wanted."""
