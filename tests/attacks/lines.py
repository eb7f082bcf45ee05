"""Random shell lines: some grown from a grammar of the shell's nasty parts, some thrown together from pieces, some of
either with a character changed."""

from __future__ import annotations

import random
from collections.abc import Callable

PROGRAMS = tuple(f"p{number}" for number in range(6))
"""What stands on PATH. Each line begins with one of them more often than not, so that many lines get far."""
WRAPPERS = (
    "timeout 5",
    "nice -n 3",
    "nohup",
    "stdbuf -oL",
    "time",
    "command",
    "builtin",
    "env",
    "xargs",
    "exec",
    "eval",
    "nice",
    "time -p",
)

_PLAIN = [
    "x",
    "-f",
    "--long=1",
    "1",
    "a=b",
    "a/b",
    "--",
    "-",
    "'a b'",
    '"c d"',
    "''",
    '""',
    "e\"f\"'g'",
    "'p1'",
    '"; p2"',
    "'$(p3)'",
    "'`p4`'",
]
_WORDS = [
    *_PLAIN, *_PLAIN, "$x", "${x}", "$(p1)", "`p2`", '"$(p3)"', '"`p4`"', "${x:-$(p5)}", "${x:=p1}", "${x@P}", "$((1+1))", "$((a[$(p2)]))", "$'p3'",
    "$'\\x70\\x34'", '$"p5"', "{p1,p2}", "{a..c}", "~", "~+", "*", "?", "[x]", "\\;", "\\(", "\\)", "\\!", "\\p1", "p\\1", "a\\ b", "<(p2)", ">(p3)", "#x", "x#y", "!", "!!", "^a^b",
    "=p1", "@(p2|x)", "%1", "$?", "$#", "$@", "\\", "\u00a0", "\u2028", "\r", "\t", "\v", "ü", "日本", "\u200b", "-exec", "{}", "+", "]]", "]", ")", "}", "fi", "do",
]  # fmt: skip
_REDIRECTS = ["> f", ">> f", "< f", "2> f", "2>&1", ">&2", "&> f", ">| f", ">/dev/null", "2>/dev/null", ">&f", "<> f", "<<< x", "<<< $(p1)", "1>f 2>&1", "{v}> f", "0<&1", ">&-"]  # fmt: skip
_PIECES = [
    *PROGRAMS, *_WORDS, *_REDIRECTS, ";", ";", "&&", "||", "|", "|&", "&", "\n", "\n", "(", ")", "{", "}", "[[", "((", "))", "if", "then", "fi", "do", "done", "for", "in", "case",
    "esac", ";;", ";&", "while", "until", "select", "coproc", "function", "()", "<<E", "<<-'E'", "\nE", "E", "'", '"', "$", "`", "=", "+=", "p1=", "cd sub", "cd", "x()", "\\\n",
    "trap", "alias p1=p2", "source", ".", "export", "declare", "local", "unset", "set --", "hash -p p1", "printf -v", "read", "test", "[", *WRAPPERS,
]  # fmt: skip


class Grower:
    """Grows lines. ``wildness`` (0 to 1): how often something nasty is chosen where something plain would do."""

    def __init__(self, rng: random.Random, wildness: float) -> None:
        self.rng = rng
        self.wildness = wildness

    def line(self) -> str:
        line = self.commands(3)
        if self.rng.random() < self.wildness / 4:
            line = self._changed(line)
        return line

    def commands(self, depth: int) -> str:
        joiners = ["; ", ";", " && ", " || ", " | ", "\n", "|", "&&"]
        nasty = [" & ", " |& ", "&", "\n\n", " \\\n; ", ";;", " # comment\n", "#", "\\\n", " \r\n"]
        text = self.command(depth)
        while self.rng.random() < 0.4:
            text += self._pick(joiners, nasty) + self.command(depth)
        return text + self._pick([""], ["", ";", " &", "\n", " # end", "\\", " \\\n"])

    def command(self, depth: int) -> str:
        if depth and self.rng.random() < self.wildness / 2:
            return self.rng.choice(self._compounds())(depth - 1)
        return self.simple()

    def simple(self) -> str:
        rng = self.rng
        words = []
        if rng.random() < self.wildness / 4:
            words.append(rng.choice(["A=1", "A=", "PATH=.", "A=$(p1)", "A[0]=1", "A=(p1)", "A+=p1", "export A=1"]))
        if rng.random() < 0.1:
            words.append(rng.choice(WRAPPERS))
        words.append(self.program())
        words += [self._pick(_PLAIN, _WORDS) for _ in range(rng.randint(0, 3))]
        if rng.random() < 0.15:
            words.insert(
                rng.randint(1, len(words)) if rng.random() < self.wildness else len(words), rng.choice(_REDIRECTS)
            )
        separator = self._pick([" "], [" ", "  ", "\t", " \\\n", "\u00a0"])
        return separator.join(words)

    def program(self) -> str:
        name = self.rng.choice(PROGRAMS)
        odd = [
            f"'{name}'",
            f'"{name}"',
            f"{name[0]}''{name[1]}",
            f'{name[0]}"{name[1]}"',
            f"\\{name}",
            f"$'{name}'",
            f"./{name}",
            f"sub/{name}",
            f"${{x:-{name}}}",
        ]
        odd += [
            f"{{{name},x}}",
            f"$(echo {name})",
            f"{name[0]}\\\n{name[1]}",
            f"[p]{name[1]}",
            f"{name[0]}?",
            "cd sub",
            "cd",
            f"={name}",
            f"%{name}",
            f"{name}\\",
        ]
        return self._pick([name], odd)

    def _compounds(self) -> list[Callable[[int], str]]:
        inner = self.commands
        return [
            lambda d: f"({inner(d)})",
            lambda d: f"{{ {inner(d)}; }}",
            lambda d: f"if {inner(d)}; then {inner(d)}; fi",
            lambda d: f"for i in a b; do {inner(d)}; done",
            lambda d: f"while {inner(d)}; do {inner(d)}; break; done",
            lambda d: f"case x in x) {inner(d)};; *) {inner(d)};; esac",
            lambda d: f"{self.program()}() {{ {inner(d)}; }}; {inner(d)}",
            lambda d: f"function {self.program()} {{ {inner(d)}; }}",
            lambda d: f"{self.simple()} $({inner(d)})",
            lambda d: f'{self.simple()} "$({inner(d)})"',
            lambda d: f"{self.simple()} `{self.simple()}`",
            lambda d: f"{self.simple()} <({inner(d)})",
            lambda d: f"{self.simple()} <<E\n{inner(d)}\n$(p1)\nE\n",
            lambda d: f"{self.simple()} <<'E'\n{inner(d)}\nE\n{inner(d)}",
            lambda d: f"{self.simple()} <<-E\n\t{inner(d)}\n\tE\n{inner(d)}",
            lambda d: f"{self.simple()} <<E; {inner(d)}\ntext\nE",
            lambda d: f"[[ a == $({inner(d)}) ]]",
            lambda d: f"! {inner(d)}",
            lambda d: f"time {inner(d)}",
            lambda d: f"coproc {inner(d)}",
            lambda d: f"eval '{self.simple()}'",
            lambda d: f"trap '{self.simple()}' EXIT; {inner(d)}",
            lambda d: f"# {inner(d)}\n{inner(d)}",
            lambda d: f"((x = 1)) && {inner(d)}",
            lambda d: f"alias {self.program()}='{self.simple()}'; {inner(d)}",
        ]  # fmt: skip

    def _pick(self, plain: list[str], nasty: list[str]) -> str:
        return self.rng.choice(nasty if self.rng.random() < self.wildness else plain)

    def _changed(self, text: str) -> str:
        at = self.rng.randrange(len(text) + 1)
        gone = self.rng.choice([0, 0, 1, 2])
        return text[:at] + self.rng.choice(["", *"'\"\\$`;&|<>(){}[]#!*?=~ \n\t\r", *_PIECES]) + text[at + gone :]


def random_line(rng: random.Random) -> str:
    """One line, never empty."""
    wildness = rng.choice([0.02, 0.05, 0.1, 0.2, 0.5, 1.0])
    if rng.random() < 0.7:
        text = Grower(rng, wildness).line()
    else:
        plain = [*PROGRAMS, "x", "-f", "1", "'a b'", '"c"', "; p0", "&& p1", "| p0", "\np1", "2>&1"]
        pieces = [rng.choice(_PIECES if rng.random() < wildness else plain) for _ in range(rng.randint(0, 8))]
        text = rng.choice(PROGRAMS) + "".join(rng.choice(["", " ", " ", " "]) + piece for piece in pieces)
    return text if text.strip() else "p0"
