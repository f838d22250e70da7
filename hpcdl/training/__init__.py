"""Keras models on the ranks of a world."""
