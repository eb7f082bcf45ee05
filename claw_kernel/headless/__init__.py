"""Notebooks run without anybody in front of them: for ``claw run``, ``claw replay`` and ``%claw replay``."""
