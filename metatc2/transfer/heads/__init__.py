"""Classifiers of few-shot episodes."""
