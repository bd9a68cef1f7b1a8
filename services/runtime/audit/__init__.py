"""Sealing of audit rows (ADR 22): what a seal is, and who makes them. Messaging writes the rows and knows nothing of seals."""
