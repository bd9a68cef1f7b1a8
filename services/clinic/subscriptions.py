"""What the clinic listens to: nothing. It is where reference data begins."""

from services.runtime.messaging.inbox import Subscription

__all__ = ["SUBSCRIPTIONS"]

SUBSCRIPTIONS: tuple[Subscription, ...] = ()
