"""Power: activity of a simulation, cells of a synthesis, published coefficients."""
