"""Looking into programs: drawings of graphs."""
