"""Load and hostility against a real daemon over loopback: limits hold, others go on, memory stays bounded."""
