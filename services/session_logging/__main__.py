"""``python -m services.session_logging``."""

from services.runtime.serve import main
from services.session_logging.app import SERVICE

main(SERVICE)
