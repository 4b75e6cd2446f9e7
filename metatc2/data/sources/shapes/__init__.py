"""Rendered objects with known factors."""
