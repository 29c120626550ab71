"""Error mitigation: techniques by name, and the backend that applies them."""

from hybrid_opt.backends.mitigation.mitigated import Mitigated

__all__ = ["Mitigated"]
