"""Ways to differentiate an inner loop, one a file."""
