"""Recipes: their schema and their reader."""
