"""Traces: one span for a request, a batch of the relay, of a consumer, of due timers; each linked to what caused it, where
something did.

Only OpenTelemetry's API is imported. Its SDK is the extra ``tracing``, switched on by the standard variable
``OTEL_TRACES_EXPORTER`` and set up by the other standard ones; without it a span costs next to nothing, but a request still
has a trace, by whose id its events can be found. No span holds an id of a person or a record, a path, a query or the text of
an error: names and attributes are those of ``ATTRIBUTES``.
"""

import importlib.metadata
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final
from uuid import uuid4

from opentelemetry import context, trace
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from services.runtime.log import get_logger

__all__ = ["ATTRIBUTES", "answered", "current_traceparent", "export_spans", "processing", "publishing", "serving", "timing"]

ATTRIBUTES: Final = frozenset({
    "http.request.method", "http.route", "http.response.status_code", "messaging.system", "messaging.operation.name",
    "messaging.destination.name", "messaging.consumer.group.name", "messaging.batch.message_count",
})  # fmt: skip
"""Every attribute of every span; by OpenTelemetry's semantic conventions."""
_METHODS: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"})
_LINKS: Final = 128
"""As many as the SDK keeps unless told otherwise."""

_log = get_logger()
_tracer = trace.get_tracer("telemed")
_propagator = TraceContextTextMapPropagator()
Headers = Sequence[tuple[str, bytes]]


def export_spans(service: str) -> None:
    """Export spans if ``OTEL_TRACES_EXPORTER`` names an exporter (``otlp``, ``console``) and the SDK is there."""
    wanted = [name.strip() for name in os.environ.get("OTEL_TRACES_EXPORTER", "").split(",")]
    names = ["otlp_proto_http" if name == "otlp" else name for name in wanted if name not in ("", "none")]
    if not names or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return
    try:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        _log.error("tracing-not-installed")
        return
    found = {point.name: point for point in importlib.metadata.entry_points(group="opentelemetry_traces_exporter")}
    provider = TracerProvider(resource=Resource.create({"service.namespace": "telemed", "service.name": service}))
    for name in names:
        if name in found:
            provider.add_span_processor(BatchSpanProcessor(found[name].load()()))
        else:
            _log.error("tracing-exporter-unknown", setting="OTEL_TRACES_EXPORTER")
    trace.set_tracer_provider(provider)


def current_traceparent() -> str | None:
    """The ``traceparent`` of what is being done, for the outbox and for answers."""
    if not trace.get_current_span().get_span_context().is_valid:
        return None
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier.get("traceparent")


@contextmanager
def serving(method: str, route: str, traceparent: str) -> Iterator[Span]:
    """A request, as a child of what its sender says.

    Args:
        method: as it came.
        route: the template of its path; ``-`` when it fits none.
        traceparent: as it came; what cannot be read counts as none.
    """
    known = method if method in _METHODS else "_OTHER"
    parent = _propagator.extract({"traceparent": traceparent}, context.Context())
    about = {"http.request.method": known, "http.route": route}
    span = _tracer.start_span(f"{known} {route}", parent, SpanKind.SERVER, about)
    if not span.get_span_context().is_valid:
        span = NonRecordingSpan(SpanContext(uuid4().int, uuid4().int >> 64, is_remote=False, trace_flags=TraceFlags(0)))
    with _current(span):
        yield span


def answered(span: Span, status: int) -> None:
    """How a request ended."""
    if span.is_recording():
        span.set_attribute("http.response.status_code", status)
        if status >= 500:
            span.set_status(Status(StatusCode.ERROR))


@contextmanager
def publishing(topic: str, traceparents: Sequence[str | None]) -> Iterator[None]:
    """A batch of the relay: one entry for each event."""
    about = {"messaging.operation.name": "publish", "messaging.destination.name": topic}
    with _batch(f"publish {topic}", SpanKind.PRODUCER, about, traceparents if _exporting() else ()):
        yield


@contextmanager
def processing(consumer: str, records: Iterable[Headers]) -> Iterator[None]:
    """A batch of a consumer: the headers of each record. Heartbeats alone are no work."""
    heads = [dict(headers) for headers in records] if _exporting() else []
    traceparents = [head.get("traceparent", b"").decode("ascii", "replace") for head in heads if "ce_id" in head]
    about = {"messaging.operation.name": "process", "messaging.consumer.group.name": consumer}
    with _batch(f"process {consumer}", SpanKind.CONSUMER, about, traceparents):
        yield


@contextmanager
def timing() -> Iterator[None]:
    """Timers that came due; what they commit belongs to this trace. Nothing but the clock caused it, so nothing is linked."""
    if not _exporting():
        yield
        return
    with _current(_tracer.start_span("carry out timers", context.Context(), SpanKind.INTERNAL)):
        yield


def _exporting() -> bool:
    return not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


@contextmanager
def _batch(name: str, kind: SpanKind, about: dict[str, str], traceparents: Sequence[str | None]) -> Iterator[None]:
    # A trace of its own, linked: a batch has many causes, and none of them waits for it.
    if not traceparents:
        yield
        return
    span = _tracer.start_span(name, context.Context(), kind, {**about, "messaging.system": "kafka"}, _links(traceparents))
    if span.is_recording():
        span.set_attribute("messaging.batch.message_count", len(traceparents))
    with _current(span):
        yield


def _links(traceparents: Iterable[str | None]) -> list[Link]:
    found: list[Link] = []
    for text in dict.fromkeys(traceparents):
        if text and len(found) < _LINKS:
            cause = trace.get_current_span(_propagator.extract({"traceparent": text}, context.Context())).get_span_context()
            if cause.is_valid:
                found.append(Link(cause))
    return found


@contextmanager
def _current(span: Span) -> Iterator[None]:
    # Not the API's own ``use_span``: it writes an exception's text into the span, and that may hold anything.
    token = context.attach(trace.set_span_in_context(span))
    try:
        yield
    except BaseException:
        span.set_status(Status(StatusCode.ERROR))
        raise
    finally:
        context.detach(token)
        span.end()
