"""Public builders for tests: small real bundles and rows; nothing in the product imports this."""
