"""``python -m services.video_visits``."""

from services.runtime.serve import main
from services.video_visits.app import SERVICE

main(SERVICE)
