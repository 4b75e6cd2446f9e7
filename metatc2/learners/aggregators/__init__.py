"""Ways to combine the gradients of tasks, one a file, by the aggregators of torchjd."""
