"""``python -m services.consultation``."""

from services.consultation.app import SERVICE
from services.runtime.serve import main

main(SERVICE)
