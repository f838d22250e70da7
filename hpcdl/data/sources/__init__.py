"""Where images come from: one file a kind, each of which finds, checks and loads it."""
