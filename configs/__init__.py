"""Experiment files: `common.py` holds every default, each other file one experiment."""
