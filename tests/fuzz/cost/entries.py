"""Every entry point by its name."""

from collections.abc import Mapping

from tests.fuzz.cost import entries_mail, entries_settings, entries_sms, entries_wires
from tests.fuzz.cost.entry import Entry

ENTRIES: Mapping[str, Entry] = {
    entry.name: entry
    for module in (entries_mail, entries_sms, entries_settings, entries_wires)
    for entry in module.ENTRIES
}
