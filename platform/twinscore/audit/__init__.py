"""The durable record of every answered request: file formats and decisions; knows no Ray, registry or HTTP library."""
