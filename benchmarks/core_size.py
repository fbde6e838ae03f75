"""How long the differentiable core is: `backend/`, `autograd/`, `nn.py` and `optim.py`.

lines   all of them
code    those that hold more than a comment or a string that stands by itself (a docstring)
"""

from __future__ import annotations

import ast
import io
import tokenize
from pathlib import Path

from harness import FOLDER, Row, floor, parser, report, run

PACKAGE = FOLDER.parent / "tinyvae"
CORE = ("backend", "autograd", "nn.py", "optim.py")
SILENT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


def files() -> list[Path]:
    """The modules of the core."""
    parts = (PACKAGE / name for name in CORE)
    return [path for part in parts for path in ([part] if part.is_file() else part.glob("*.py"))]


def code_lines(source: str) -> int:
    """Lines that are neither blank, nor comment, nor docstring."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    spoken = {
        line
        for token in tokens
        if token.type not in SILENT
        for line in range(token.start[0], token.end[0] + 1)
    }
    return len(spoken - prose_lines(source))


def prose_lines(source: str) -> set[int]:
    """Lines of strings that are statements by themselves."""
    return {
        line
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if isinstance(node.value.value, str)
        for line in range(node.lineno, node.end_lineno + 1)
    }


def main() -> None:
    """File by file, and in all."""
    chosen = parser(__doc__).parse_args()
    rows: list[Row] = []
    for path in sorted(files()):
        source = path.read_text(encoding="utf-8")
        name = path.relative_to(PACKAGE).as_posix()
        rows.append({"file": name, "lines": len(source.splitlines()), "code": code_lines(source)})
    total = {key: sum(row[key] for row in rows) for key in ("lines", "code")}
    floors = [floor("lines of code in the core", [total["code"]], 1200)]
    report("core_size", chosen, rows=[*rows, {"file": "in all"} | total], floors=floors)


if __name__ == "__main__":
    run(main)
