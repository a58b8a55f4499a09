"""What edge-watch says of the provider that computes its model."""

from __future__ import annotations

from edge.compute.providers import in_words
from edge.encoder import Encoder
from edge.operation.operation import Operation

_ADVICE = (
    "see what `edge-admin model verify --provider NAME` says; mend the driver, or set provider = "
    '"cpu"'
)


def tell_provider(encoder: Encoder, operation: Operation) -> None:
    """At the start, and again when a provider fails while it works."""

    def tell_trouble(trouble: str) -> None:
        operation.log.warn("provider", trouble)
        operation.health.degrade("provider", trouble, _ADVICE)
        operation.health.measured(provider=in_words(encoder.choice.provider))

    encoder.tell_of_fallback(tell_trouble)
    operation.log(str(encoder.choice))
    operation.health.measured(provider=in_words(encoder.choice.provider))
    if encoder.choice.trouble:
        tell_trouble(encoder.choice.trouble)
