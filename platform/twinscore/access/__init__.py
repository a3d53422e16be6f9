"""Who may ask a model for what: keys, tokens and the gate; knows no HTTP library and no Ray."""
