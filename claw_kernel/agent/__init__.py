"""The engine: ``Agent`` (one per session) and ``Turn`` (one prompt to its final answer)."""

from claw_kernel.agent.agent import Agent
from claw_kernel.agent.turn import Turn

__all__ = ["Agent", "Turn"]
