"""Reports: pages, figures and pictures of a run."""
