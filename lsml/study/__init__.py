"""Studies: one coordinator owns the truth, expendable workers train."""
