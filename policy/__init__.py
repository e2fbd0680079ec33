"""Decisions, and nothing but decisions: no input or output, no clock, no randomness.

Each module answers one question from its arguments alone, so that a table of cases tests it whole. Credits
are integers. Times are integers named `_ms`: milliseconds since 1970 in UTC.
"""
