"""Which version answers whom: routing documents and arms; pure values, knows no server and no registry."""
