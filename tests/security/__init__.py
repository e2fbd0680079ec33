"""Security (point by point of docs/threat-model.md): what an attacker would try, tried on the real thing."""
