"""Turning a verified snapshot into answers, in a child process.

`requests` holds what is asked and answered, `engine` the port, `spec` what is loaded. The pool
keeps engines within the memory there is; what runs a model is behind the port: a worker of ours
(`worker/`, a process of its own, the one place with torch), or another server.
"""
