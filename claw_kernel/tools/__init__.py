"""The tools as the loop sees them: one list, whichever language a tool is written in.

A Rust tool lives whole in ``rust_core/src/tools``; a Python tool is one file here with a ``PythonTool`` in it. Both pass
``Core.prepare`` and ``Core.finish``: no call reaches its effect without them.
"""

from claw_kernel.tools.registry import AskingTool, DeferredTool, PreparedCall, PythonTool, ToolSet

__all__ = ["AskingTool", "DeferredTool", "PreparedCall", "PythonTool", "ToolSet"]
