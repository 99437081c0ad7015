"""Many jobs as one: parallel processes, a results file that grows cell by cell, and going on after anything."""
