"""What the consultation listens to: staff, sites, duty and opening hours. Patients are its own."""

from services.directory.subscriptions import directory
from services.runtime.messaging.inbox import Subscription

__all__ = ["SUBSCRIPTIONS"]

SUBSCRIPTIONS: tuple[Subscription, ...] = (directory("consultation", patients=False),)
