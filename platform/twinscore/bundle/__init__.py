"""What a model version carries, as data: feature spec, calibration, profile, card, files and digests."""
