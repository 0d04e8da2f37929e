"""Frozen networks whose features samples are compared in, read from the files that the field uses."""
