"""Which language server serves a file: the user's own choice, else a well-known one that is installed."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from claw_kernel.tool_settings import LanguageServerSettings

_WEB = (".js", ".jsx", ".mjs", ".cjs", ".ts", ".tsx", ".mts", ".cts")
_C = (".c", ".h", ".cc", ".cpp", ".cxx", ".hpp", ".hh", ".m", ".mm")
KNOWN = tuple(
    LanguageServerSettings(command[0], command, extensions)
    for command, extensions in (
        (("basedpyright-langserver", "--stdio"), (".py", ".pyi")),
        (("pyright-langserver", "--stdio"), (".py", ".pyi")),
        (("ty", "server"), (".py", ".pyi")),
        (("pylsp",), (".py", ".pyi")),
        (("jedi-language-server",), (".py", ".pyi")),
        (("pyrefly", "lsp"), (".py", ".pyi")),
        (("ruff", "server"), (".py", ".pyi")),  # diagnostics only
        (("typescript-language-server", "--stdio"), _WEB),
        (("rust-analyzer",), (".rs",)),
        (("gopls",), (".go",)),
        (("clangd",), _C),
        (("bash-language-server", "start"), (".sh", ".bash")),
        (("vscode-json-language-server", "--stdio"), (".json", ".jsonc")),
        (("vscode-css-language-server", "--stdio"), (".css", ".scss", ".less")),
        (("vscode-html-language-server", "--stdio"), (".html", ".htm")),
        (("yaml-language-server", "--stdio"), (".yaml", ".yml")),
        (("taplo", "lsp", "stdio"), (".toml",)),
        (("lua-language-server",), (".lua",)),
        (("ruby-lsp",), (".rb",)),
        (("jdtls",), (".java",)),
        (("zls",), (".zig",)),
        (("texlab",), (".tex", ".bib")),
    )
)
"""In order of preference for each ending: those that answer every action first."""
_LANGUAGES = {
    ".py": "python", ".pyi": "python", ".js": "javascript", ".mjs": "javascript", ".cjs": "javascript",
    ".jsx": "javascriptreact", ".ts": "typescript", ".mts": "typescript", ".cts": "typescript",
    ".tsx": "typescriptreact", ".rs": "rust", ".c": "c", ".h": "c", ".m": "objective-c", ".mm": "objective-cpp",
    ".cc": "cpp", ".cpp": "cpp", ".cxx": "cpp", ".hpp": "cpp", ".hh": "cpp", ".sh": "shellscript",
    ".bash": "shellscript", ".htm": "html", ".yml": "yaml", ".rb": "ruby", ".tex": "latex", ".bib": "bibtex",
}  # fmt: skip
"""The protocol's language identifiers, where they are not the ending itself."""


def language_of(path: Path) -> str:
    return _LANGUAGES.get(path.suffix.lower(), path.suffix.lower().lstrip("."))


def find_servers(
    path: Path, own: Sequence[LanguageServerSettings], env: Mapping[str, str], workspace: str
) -> Iterator[tuple[LanguageServerSettings, tuple[str, ...]]]:
    """Servers for ``path`` with the argv that starts them, best first. A program in the workspace is never one: whoever
    wrote the project would choose what runs."""
    for server in (*own, *KNOWN):
        if path.suffix.lower() in server.extensions and (program := _find_program(server.command[0], env, workspace)):
            yield server, (program, *server.command[1:])


def _find_program(name: str, env: Mapping[str, str], workspace: str) -> str | None:
    import shutil  # with its compression modules a millisecond or two of each start

    # The kernel's own environment first, as for commands: it is seldom activated.
    folders = [str(Path(sys.executable).parent), *env.get("PATH", "").split(":")]
    for folder in folders if "/" not in name else [""]:
        if folder and not folder.startswith("/"):
            continue
        found = shutil.which(name, path=folder or None)
        if found and found.startswith("/") and not Path(found).resolve().is_relative_to(workspace):
            return found
    return None
