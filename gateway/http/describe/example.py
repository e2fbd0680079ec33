"""What the examples of all verticals share."""

ID = "01jd3v9k2xq6b7m8n9p0r1s2t3"
AT = "2026-11-16T09:30:00Z"
