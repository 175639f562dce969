"""Sources of weights: where the beats of an image come from."""
