"""Turning a verified snapshot into answers, in a child process.

The pool and the engines come with serving.
"""
