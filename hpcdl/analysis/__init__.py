"""From records to figures: statistics and scaling, as pure functions."""
