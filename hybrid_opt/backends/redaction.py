"""Tokens are never written anywhere: they are blotted out of whatever a vendor's error says."""

import os
import re

SECRET = re.compile(r"token|secret|passw|credential|api_?key|access_?key|auth", re.IGNORECASE)
NAMED = re.compile(  # token=..., "apikey": "...", Authorization: Bearer ...
    r"((?:(?:token|secret|password|passwd|api[_-]?key|authorization)[\"']?\s*[:=]\s*[\"']?(?:(?:bearer|basic)\s+)?"
    r"|\bbearer\s+))([^\s\"',;&)}\]]{6,})",
    re.IGNORECASE,
)
LONG = re.compile(r"(?<![\w-])(?=[\w-]*\d)(?=[\w-]*[A-Za-z])[\w-]{40,}(?![\w-])")  # what vendors' tokens look like


def redact(text: str) -> str:
    """The text without values of secret environment variables, named secrets, and long random words."""
    for name, value in os.environ.items():
        if SECRET.search(name) and len(value) >= 6:
            text = text.replace(value, "***")
    return LONG.sub("***", NAMED.sub(r"\1***", text))
