"""The edge every request enters by: routes declared once, identity, limits, problems, audit."""
