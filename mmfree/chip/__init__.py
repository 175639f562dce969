"""A chip as software sees it, without Amaranth: its design, the image of a tape, its registers."""
