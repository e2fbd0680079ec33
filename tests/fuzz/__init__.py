"""Fuzzing: any octets, cut anywhere, end in a verdict (A7) and in bounded memory (A6).

`targets.TARGETS` are plain functions of octets that raise when a promise is broken. `test_fuzz.py` runs
each of them under hypothesis with few examples, and replays `corpus/`; `python -m tests.fuzz` (`make fuzz`)
runs them for as long as it is told, with atheris where that is installed.
"""
