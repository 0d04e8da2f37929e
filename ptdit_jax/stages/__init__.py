"""Chains of runs: each stage of a recipe starts with the parameters of an earlier one."""
