"""Measurements, each run as `python -m bench.<name>`. They print and assert nothing."""
