"""Official archives, downloaded whole."""
