"""Configurations and folders: from a task file to a run and its results."""
