"""The commands: parse, call the rooms below, show; no decision is made here."""
