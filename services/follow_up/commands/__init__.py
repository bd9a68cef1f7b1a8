"""Use cases of follow-up."""
