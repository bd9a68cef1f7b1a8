"""``telemed`` for operators: look, repair, move the clinic clock. Every write names a person and is audited.

What belongs to one service is done under that service's own role and audited in its schema; what belongs to the deployment
(migrations, topics, the clinic clock) is done as the owner and audited in schema ``runtime``.
"""

from services.cli.operate.commands import commands

__all__ = ["commands"]
