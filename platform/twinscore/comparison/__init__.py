"""Two versions on the same rows: how far scores and decisions differ, and how sure that is; knows no files."""
