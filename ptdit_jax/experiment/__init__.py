"""A config, built: networks and programs over a mesh, samples, and what a run ends with."""
