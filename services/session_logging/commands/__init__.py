"""Use cases of the infusion room."""
