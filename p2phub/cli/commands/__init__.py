"""One file per command: its arguments, one call, what it prints.

Each has a docstring, which is its `--help`; `add_arguments(parser)`; and `run(arguments, session)`,
which returns the exit code. What is slow to import is imported in `run`.
"""
