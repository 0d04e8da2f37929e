"""Devices: the mesh, and the one table that says which array axis lies along which mesh axis."""
