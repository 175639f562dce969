"""Models of stories: what they are measured by."""
