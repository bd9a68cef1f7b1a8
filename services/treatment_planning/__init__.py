"""Treatment plans: proposed by the therapy's rules, edited within its limits, signed by a prescriber, held and stopped."""
