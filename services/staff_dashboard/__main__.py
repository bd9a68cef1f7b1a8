"""``python -m services.staff_dashboard``."""

from services.runtime.serve import main
from services.staff_dashboard.app import SERVICE

main(SERVICE)
