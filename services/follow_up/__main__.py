"""``python -m services.follow_up``."""

from services.follow_up.app import SERVICE
from services.runtime.serve import main

main(SERVICE)
