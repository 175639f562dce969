"""mmfree: train ternary MatMul-free language models and play them on an addition-only chip."""

__version__ = "0.1.0"
