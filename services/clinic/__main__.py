"""``python -m services.clinic``."""

from services.clinic.app import SERVICE
from services.runtime.serve import main

main(SERVICE)
