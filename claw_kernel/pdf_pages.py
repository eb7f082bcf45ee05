"""The text of a PDF's pages, for the Read tool: ``python -I -m claw_kernel.pdf_pages FIRST LAST MAX_CHARS < file``.

Runs as a process of its own, with bounds on memory and time, because the file may be made to break its reader. Prints one
JSON object: ``{"read": {"total": int, "texts": [str]}}`` or ``{"error": str}``.
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress

MEMORY_BYTES = 1 << 30
CPU_SECONDS = 20


def confine() -> None:
    """No more memory than ``MEMORY_BYTES``, no more time than ``CPU_SECONDS``, no file written, no core dumped."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        for limit, value in (
            (resource.RLIMIT_AS, MEMORY_BYTES),
            (resource.RLIMIT_CPU, CPU_SECONDS),
            (resource.RLIMIT_FSIZE, 0),
            (resource.RLIMIT_CORE, 0),
        ):
            resource.setrlimit(limit, (value, value))


def read_pages(content: bytes, first: int, last: int, max_chars: int) -> dict[str, object]:
    """The answer to be printed."""
    from pypdfium2 import PdfDocument, PdfiumError

    try:
        document = PdfDocument(content)
        total = len(document)
        texts = []
        left = max_chars
        for number in range(first - 1, min(last, total)):
            text = document[number].get_textpage()
            shown = text.get_text_range(0, min(text.count_chars(), max_chars)).replace("\r\n", "\n")
            cut = "\n[the rest of this page is left out]" if text.count_chars() > max_chars else ""
            texts.append(shown + cut)
            left -= len(shown)
            if left < 0:
                break
    except PdfiumError as error:
        if "assword" in str(error):
            return {"error": "it is encrypted and needs a password."}
        return {"error": "it is damaged, or no PDF at all."}
    return {"read": {"total": total, "texts": texts}}


if __name__ == "__main__":
    confine()
    first, last, max_chars = (int(argument) for argument in sys.argv[1:])
    print(json.dumps(read_pages(sys.stdin.buffer.read(), first, last, max_chars)))
