"""The conversation of one notebook: its records in order, and the transcript they make."""
