"""Encoded records in ArrayRecord files: `writer`, `index` and `dataset`."""
