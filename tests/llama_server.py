"""A real llama.cpp server on 127.0.0.1 with a tiny model made here, for tests: it says one thing when it is asked, and another
when it has a tool's result. Its tokenizer, chat template, grammar, tool-call parser and three wire formats are llama.cpp's own.

The model is a table of which token follows which: embeddings are unit vectors, attention and feed-forward are zero, and the
output matrix names the next token. Where the answer begins is told by the chat template, whose last token differs.

    with LlamaServer(folder, asked=["I ", "look."], answered=["Done."]) as server: server.base_url
"""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

MISSING = [name for name in ("xllamacpp", "gguf") if find_spec(name) is None]
"""Packages that are not here; there are wheels of llama.cpp for few platforms."""

SPECIAL = ["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|asked|>", "<|answered|>"]
END = SPECIAL.index("<|im_end|>")
# How llama.cpp learns from a template what a tool call looks like; in the style of ChatML with calls between tags.
TEMPLATE = """
{%- if tools %}<|im_start|>system
Tools: {{ tools | tojson }}<|im_end|>
{% endif %}
{%- for message in messages %}
{%- if message.role == 'tool' %}<|im_start|>user
<tool_response>
{{ message.content }}
</tool_response><|im_end|>
{% elif message.role == 'assistant' and message.tool_calls %}<|im_start|>assistant
{{ message.content or '' }}{% for call in message.tool_calls %}
<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>{% endfor %}<|im_end|>
{% else %}<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% if messages[-1].role == 'tool' %}<|answered|>{% else %}<|asked|>{% endif %}{% endif %}
""".strip()


def tool_call(name, arguments):
    """The pieces of a call as the template has it. ``arguments``: pieces of JSON."""
    return ["\n<tool_", "call>\n", f'{{"name": "{name}", "arguments": ', *arguments, "}", "\n</tool_call>"]


def write_model(path, asked, answered):
    import gguf
    import numpy as np

    tokens = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256))]
    kinds = [gguf.TokenType.UNKNOWN, *[gguf.TokenType.CONTROL] * (len(SPECIAL) - 1), *[gguf.TokenType.BYTE] * 256]
    following = {}
    for start, pieces in (("<|asked|>", asked), ("<|answered|>", answered)):
        last = tokens.index(start)
        for piece in pieces:
            tokens.append(piece)
            kinds.append(gguf.TokenType.USER_DEFINED)
            following[last] = last = len(tokens) - 1
        following[last] = END
    assert len(set(tokens)) == len(tokens), "a piece stands in it twice, so what follows it would be unclear"
    count, width = len(tokens), -(-len(tokens) // 32) * 32
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("table")
    writer.add_vocab_size(count)
    writer.add_context_length(24_576)
    writer.add_embedding_length(width)
    writer.add_rope_dimension_count(width)
    writer.add_block_count(1)
    writer.add_feed_forward_length(32)
    writer.add_head_count(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * count)
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(END)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)
    output = np.zeros((count, width), np.float32)
    for token, next_token in following.items():
        output[next_token, token] = 1
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(width, np.float32))
    writer.add_tensor("token_embd.weight", np.eye(count, width, dtype=np.float32))
    writer.add_tensor("output.weight", output)
    for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
        writer.add_tensor(f"blk.0.{name}.weight", np.zeros((width, width), np.float32))
    for name, shape in {"ffn_gate": (32, width), "ffn_up": (32, width), "ffn_down": (width, 32)}.items():
        writer.add_tensor(f"blk.0.{name}.weight", np.zeros(shape, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class LlamaServer:
    def __init__(self, folder, *, asked, answered):
        self._model = Path(folder) / "table.gguf"
        self._asked, self._answered = asked, answered
        self.base_url = ""

    def __enter__(self):
        write_model(self._model, self._asked, self._answered)
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(self._model)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        lines = iter(self._process.stdout.readline, "")
        self.base_url = next((line.strip() for line in lines if line.startswith("http://")), "")
        assert self.base_url, "llama.cpp did not start"
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()


def serve(model):
    """Until standard input ends, so that no server outlives its test."""
    import socket

    import xllamacpp

    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    settings = xllamacpp.CommonParams()
    settings.model.path = model
    settings.port = port
    settings.n_ctx = 24_576
    settings.n_parallel = 1
    settings.use_jinja = True
    settings.warmup = False
    settings.sampling.temp = 0.0
    settings.cpuparams.n_threads = 1
    server = xllamacpp.Server(settings)
    print(server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    serve(sys.argv[1])
