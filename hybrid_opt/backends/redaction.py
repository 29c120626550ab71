"""Tokens are never written anywhere: they are blotted out of whatever a vendor's error says."""

import logging
import os
import re
from contextlib import suppress
from typing import Any

SECRET = re.compile(r"token|secret|passw|pwd|credential|_key$|^key$|api_?key|access_?key|auth", re.IGNORECASE)
URL = re.compile(r"([^\s:/@]+:)(?!//)(\S+)(@)")  # scheme://user:password@host, also where the scheme is mistyped
NAMED = re.compile(  # token=..., "apikey": "...", Authorization: Bearer ...
    r"((?:(?:token|secret|password|passwd|pwd|[\w-]*[_-]key|apikey|authorization)[\"']?\s*[:=]\s*[\"']?(?:(?:bearer|basic)\s+)?"
    r"|\bbearer\s+))([^\s\"',;&)}\]]+)",
    re.IGNORECASE,
)
LONG = re.compile(r"(?<![\w-])(?=[\w-]*\d)(?=[\w-]*[A-Za-z])[\w-]{40,}(?![\w-])")  # what vendors' tokens look like


def redact(text: str) -> str:
    """Return the text without secret environment values, named secrets, passwords in URLs and long random words."""
    for name, value in os.environ.items():
        if SECRET.search(name) and len(value) >= 6:
            text = text.replace(value, "***")
    return LONG.sub("***", NAMED.sub(r"\1***", URL.sub(r"\1***\3", text)))


VENDORS = (
    "dwave",
    "qiskit_ibm_runtime",
    "qiskit",
    "ibm_cloud_sdk_core",
    "ibm_platform_services",
    "urllib3",
    "requests",
)


def redact_logs() -> None:
    """Blot tokens out of what vendors' clients log at any level, in this process, whoever reads it."""
    made = logging.getLogRecordFactory()
    if getattr(made, "redacts", False):
        return

    def redacted(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = made(*args, **kwargs)
        if record.name.partition(".")[0] in VENDORS:
            with suppress(TypeError, ValueError):  # arguments that do not fit are reported by logging itself
                record.msg, record.args = redact(record.getMessage()), ()
        return record

    redacted.redacts = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(redacted)
