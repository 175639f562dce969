"""Weight formats of other projects."""
