"""``python -m tests.support.ledger``."""

from services.runtime.serve import main
from tests.support.ledger.app import SERVICE

main(SERVICE)
