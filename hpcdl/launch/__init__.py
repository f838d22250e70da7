"""From values to processes: topology and tuning are pure, the supervisor alone starts anything."""
