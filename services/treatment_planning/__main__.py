"""``python -m services.treatment_planning``."""

from services.runtime.serve import main
from services.treatment_planning.app import SERVICE

main(SERVICE)
