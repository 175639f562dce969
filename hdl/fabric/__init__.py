"""The fabric of a part: its technology, pipeline registers, block RAMs placed by hand."""
