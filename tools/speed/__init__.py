"""Programs that time players, beside others of the field."""
