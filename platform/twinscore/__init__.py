"""One model version, two paths, one score."""
