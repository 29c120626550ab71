"""Which experience is replayed: one selector a file, classical controls among them."""

from quantum_sampler.registry import make_selector, selector_config, selector_parts, wants_features
from quantum_sampler.selector import EmptyReplay, ItemSet, OptionError, Probe, Selection, Selector

__all__ = [
    "EmptyReplay",
    "ItemSet",
    "OptionError",
    "Probe",
    "Selection",
    "Selector",
    "make_selector",
    "selector_config",
    "selector_parts",
    "wants_features",
]
