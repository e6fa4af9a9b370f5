"""Programs that run with a client's own packages: they read jobs from standard input and write a line for each."""
