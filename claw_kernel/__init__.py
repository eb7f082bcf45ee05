"""Claw for Jupyter: the agent and its kernel. Importing this package does no work."""

__version__ = "0.1.0"
