"""Reading and writing: whole files or nothing, one way to the terminal, text that cannot harm."""
