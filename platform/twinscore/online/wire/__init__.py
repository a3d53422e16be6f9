"""The forms in which rows are asked for and answers written; each module is one of them, none knows a model."""
