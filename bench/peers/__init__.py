"""The peers: each with its own folder, ports and defaults."""
