"""Training: recipes, the loop, checkpoints, and export to a tape."""
