"""What a table must be: contracts, their checker, JSON rows to Arrow and back."""
