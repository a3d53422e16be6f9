"""Train a version, or adopt one trained elsewhere: booster, contract, bundle, registration."""
