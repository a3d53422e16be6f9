"""The built-in story: a loan book and the walk from training to identical scores in both paths."""
