"""Clinical rules of the programmes: pure functions of a case and a signed, dated set of thresholds.

Nothing here reads a clock, a file or a network, and nothing here decides: every result is a proposal with its evidence,
    for a
licensed human to sign. Start reading at ``evidence`` (what a rule gets and gives), then any therapy's module.
"""
