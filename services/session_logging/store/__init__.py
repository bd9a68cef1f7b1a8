"""All SQL of the infusion room."""
