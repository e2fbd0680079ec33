"""What the ledger and the recharge decide, from their arguments alone: no input or output, no clock."""
