"""How many tokens something takes, roughly: for what a provider has not counted yet. Its own usage is the truth."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable

from claw_kernel.messages import (
    ContentBlock,
    ImageBlock,
    Message,
    TextBlock,
    ThinkingBlock,
    ToolCall,
    ToolResult,
    ToolSpec,
)

CHARACTERS_PER_TOKEN = 4
"""The rule of thumb of pi, goose and the scripted provider; no tokenizer is loaded, since each family has its own."""
PIXELS_PER_TOKEN = 750
MOST_IMAGE_TOKENS = 1_600
"""Both as Anthropic counts images (https://docs.anthropic.com/en/docs/build-with-claude/vision)."""
_PNG_HEAD_CHARACTERS = 32
"""base64 of the 24 bytes that end with a PNG's width and height."""


def text_tokens(text: str) -> int:
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def image_tokens(image: ImageBlock) -> int:
    """By its pixels where that is a PNG (what figures are), else the most an image takes."""
    if image.media_type == "image/png":
        try:
            head = base64.b64decode(image.data[:_PNG_HEAD_CHARACTERS])
        except ValueError:
            return MOST_IMAGE_TOKENS
        pixels = int.from_bytes(head[16:20], "big") * int.from_bytes(head[20:24], "big")
        if pixels:
            return min(-(-pixels // PIXELS_PER_TOKEN), MOST_IMAGE_TOKENS)
    return MOST_IMAGE_TOKENS


def content_tokens(content: Iterable[ContentBlock]) -> int:
    """Of blocks as they are sent."""
    total = 0
    for block in content:
        if isinstance(block, TextBlock) and block.stored is not None and block.stored.packed:
            # Of one kind throughout, as outputs are: unpacking it to count it would cost more than the count is worth.
            kept = block.stored.characters - block.stored.omitted
            total += text_tokens(block.text) * kept // max(len(block.text), 1)
        elif isinstance(block, TextBlock | ThinkingBlock):
            total += text_tokens(block.text)
        elif isinstance(block, ImageBlock):
            total += image_tokens(block)
        elif isinstance(block, ToolCall):
            total += text_tokens(block.name + (block.malformed or json.dumps(block.input, ensure_ascii=False)))
        else:
            total += result_tokens(block)
    return total


def result_tokens(result: ToolResult) -> int:
    return content_tokens(result.content)


def message_tokens(messages: Iterable[Message]) -> int:
    return sum(content_tokens(message.content) for message in messages)


def tools_tokens(tools: Iterable[ToolSpec]) -> int:
    return sum(text_tokens(tool.name + tool.description + json.dumps(tool.input_schema)) for tool in tools)
