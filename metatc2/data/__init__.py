"""Image sources: everything becomes an `ImageStore`."""
