"""What edge-watch does when what computes its model is not what it should be."""

from __future__ import annotations

from edge.compute.providers import in_words
from edge.encoder import Encoder
from edge.operation.operation import Operation

_ADVICE = (
    "see what `edge-admin model verify --provider NAME` says; mend the driver, or set provider = "
    '"cpu"'
)


def tell_provider(encoder: Encoder, operation: Operation) -> None:
    """Into the health; with a warning where the CPU stands in, now or later."""

    def tell_trouble(trouble: str) -> None:
        operation.log.warn("provider", trouble)
        operation.health.degrade("provider", trouble, _ADVICE)
        operation.health.measured(provider=in_words(encoder.choice.provider))

    encoder.tell_of_fallback(tell_trouble)
    operation.health.measured(provider=in_words(encoder.choice.provider))
    if encoder.choice.trouble:
        tell_trouble(encoder.choice.trouble)
