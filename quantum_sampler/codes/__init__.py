"""Binary codes of features, uint64 [N]: projected, learned, and the law of what they share."""
