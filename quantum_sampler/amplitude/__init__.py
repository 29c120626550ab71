"""Amplitude estimation and amplification, and what is estimated by them."""
