"""Server-sent events from raw bytes, cut anywhere (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

from __future__ import annotations

import re

LONGEST_FRAME_BYTES = 64 * 1024 * 1024
"""A frame without an end is given up at this size. The largest real ones are images in base64, a few MB."""

_SIMPLE_FRAME = re.compile(rb"^(?:event: ?([^\n]*)\n)?data: ?([^\n]*)\n\n", re.MULTILINE)
"""The shape nearly every frame of every provider has; anything else takes the way line by line."""


class SseParser:
    """``feed`` takes what one network read gave and returns the events that are complete with it, as pairs of event name
    (``b""`` where none was sent) and data. ``finish`` returns what the stream left without its last blank line.

    One regular expression finds the frames of a read, so that the cost per frame is C code; lines are only walked
    where a read has comments, several data lines or other fields.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._is_start = True
        self._is_after_cr = False

    def feed(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """Raises ValueError where a frame grows over ``LONGEST_FRAME_BYTES``."""
        buffer = self._buffer
        if self._is_after_cr and data.startswith(b"\n"):
            data = data[1:]
            self._is_after_cr = False
        if b"\r" in data:
            self._is_after_cr = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        elif data:
            self._is_after_cr = False
        searched = max(len(buffer) - 1, 0)
        buffer += data
        if self._is_start:
            if len(buffer) < 3 and b"\xef\xbb\xbf".startswith(buffer):
                return []
            if buffer.startswith(b"\xef\xbb\xbf"):
                del buffer[:3]
            self._is_start = False
            searched = 0
        end = buffer.rfind(b"\n\n", searched)
        if end < 0:
            if len(buffer) > LONGEST_FRAME_BYTES:
                raise ValueError("an event without an end")
            return []
        block = bytes(buffer[: end + 2])
        del buffer[: end + 2]
        return _read_frames(block)

    def finish(self) -> list[tuple[bytes, bytes]]:
        block = bytes(self._buffer)
        self._buffer.clear()
        return _read_frames(block + b"\n\n") if block.strip() else []


def _read_frames(block: bytes) -> list[tuple[bytes, bytes]]:
    frames: list[tuple[bytes, bytes]] = _SIMPLE_FRAME.findall(block)
    # Two newlines per frame, three with an event name: if that is all there are, the expression read every byte.
    newlines = 2 * len(frames) + sum(1 for name, _ in frames if name)
    return frames if newlines == block.count(b"\n") else _read_lines(block)


def _read_lines(block: bytes) -> list[tuple[bytes, bytes]]:
    frames: list[tuple[bytes, bytes]] = []
    name = b""
    lines: list[bytes] = []
    for line in block.split(b"\n"):
        if not line:
            if lines:
                frames.append((name, b"\n".join(lines)))
            name, lines = b"", []
            continue
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            lines.append(value)
        elif field == b"event":
            name = value
    return frames
