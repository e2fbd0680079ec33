"""The doors in common: who may come in, who has to make room, and how a connection gets to its protocol."""
