"""The cost oracle: what an input costs is held against its length (A6, A7).

`entries.ENTRIES` are the parsers of foreign octets, each with the tokens of its grammar. `forms` makes inputs
of them that repeat, pair and nest; `measure` takes CPU and memory at growing sizes; `judge` says what is not
linear, too slow or too large. `worker` does it in a process that is killed when an input freezes it.

`python -m tests.fuzz.cost --seconds 60 --report FILE` runs everything for as long as it is told.
"""
