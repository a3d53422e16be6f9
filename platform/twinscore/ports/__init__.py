"""What the rooms above need from the outside world, as Protocols of a few methods; knows no product by name."""
