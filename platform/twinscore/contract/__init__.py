"""What a table must be: contract, its YAML, its checker, and JSON rows to and from Arrow; knows nothing of models."""
