"""Programs that measure: cells, clocks, speeds, agreement."""
