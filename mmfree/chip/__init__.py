"""What a chip is asked to hold: its design, the image of a tape, its registers.

No Amaranth here.
"""
