"""Workflows: one function a command; they wire the parts together and print nothing."""
