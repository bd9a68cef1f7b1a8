"""Visits by video or in person: scheduled, joined with time-boxed tokens, and judged by who was there together."""
