"""Decisions of the infusion room: what state a session is in, what its gates ask, what its alerts are, what the drug did."""
