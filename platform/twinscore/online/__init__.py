"""The online path: a model version that answers HTTP requests on Ray Serve."""
