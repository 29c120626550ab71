"""Suites of other projects: what they need before an environment is made."""
