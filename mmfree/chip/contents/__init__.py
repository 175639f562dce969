"""What a tape puts into the memories of a chip, whatever the chip's sizes."""
