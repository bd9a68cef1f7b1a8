"""All SQL of follow-up."""
