"""Encoders, heads, and features of any layer."""
