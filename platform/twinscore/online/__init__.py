"""Answer HTTP requests on Ray Serve: one application per model, at /<model>."""
