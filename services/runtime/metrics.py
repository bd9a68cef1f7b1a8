"""What a service tells its operator at ``/metrics`` (Prometheus). No label ever names a person or an aggregate."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

__all__ = ["Metrics"]

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """The metrics of one service process."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(name, text, labels, registry=registry)

        def histogram(name: str, text: str, *labels: str) -> Histogram:
            return Histogram(name, text, labels, registry=registry, buckets=_FAST)

        self.command_seconds = histogram("telemed_command_seconds", "Time of a command's transaction", "outcome")
        self.conflicts = counter("telemed_conflicts", "Commands and batches run again after a version conflict")
        self.pool_wait = histogram("telemed_pool_wait_seconds", "Wait for a database connection", "budget")
        self.outbox_oldest = gauge("telemed_outbox_oldest_seconds", "Age of the oldest event not yet acknowledged")
        self.outbox_pending = gauge("telemed_outbox_pending", "Events not yet acknowledged by the broker")
        self.relay_batch = histogram("telemed_relay_run_seconds", "Time of a relay run that sent something")
        self.relay_sent = counter("telemed_relay_sent", "Events acknowledged by the broker")
        self.relay_rebuilds = counter("telemed_relay_rebuilds", "Producers replaced after a fatal error")
        self.relay_blocked_by = gauge("telemed_oldest_transaction_seconds", "Age of the oldest open transaction", "pid")
        self.events_ahead = counter("telemed_events_ahead", "Published events that this database does not know")
        self.lag = gauge("telemed_consumer_lag", "Records not yet read", "consumer", "topic", "partition")
        self.watermark_age = gauge(
            "telemed_watermark_age_seconds", "How far behind its owner a topic is read", "consumer", "topic"
        )
        self.handled = counter("telemed_events_handled", "Events by outcome", "consumer", "outcome")
        self.handler_seconds = histogram("telemed_consumer_batch_seconds", "Time of a consumer transaction", "consumer")
        self.event_age = histogram("telemed_event_age_seconds", "Recorded to applied", "consumer")
        self.parked = gauge("telemed_parked", "Events waiting in this database", "consumer", "reason")
        self.dead = counter("telemed_dead", "Events given up and announced", "consumer")
        self.gaps = counter("telemed_gaps", "Events that came before an earlier one", "consumer")
        self.forks = counter("telemed_forks", "Known sequences under another id", "consumer")
        self.rebuilds = counter("telemed_consumer_rebuilds", "Consumers replaced by the watchdog or an error", "consumer")
        self.timer_late = histogram("telemed_timer_late_seconds", "Due to done", "kind")
        self.timers = counter("telemed_timers", "Timers by outcome", "kind", "outcome")
        self.timers_overdue = gauge("telemed_timers_overdue_seconds", "How late the oldest waiting timer is")
        self.audit_unsealed = gauge("telemed_audit_unsealed_seconds", "How long no audit rows could be sealed")
        self.audit_behind = gauge("telemed_audit_behind", "Seals that were published and that the database lacks")
        self.audit_heads_failing = gauge("telemed_audit_heads_failing", "1 while the file of seals cannot be written")
        self.pages_open = gauge("telemed_pages_unanswered", "Pages that no human has acknowledged")
        self.loop_stall = histogram("telemed_loop_stall_seconds", "How late the event loop ran a timer")
        self.loop_stalls = counter("telemed_loop_stalls", "Event-loop stalls over the alarm limit")
