"""What both arithmetics make of the rows of a matrix."""
