"""The conversation of one notebook: its records in order, and the transcript they make."""

from claw_kernel.session.notebook import read_notebook
from claw_kernel.session.record import read_record, write_record
from claw_kernel.session.session import Session

__all__ = ["Session", "read_notebook", "read_record", "write_record"]
