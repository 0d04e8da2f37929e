"""Recipes: files that `launch/stages.sh` reads; see `ptdit_jax/stages/recipe.py` for what one has."""
