"""From each formula to its proof: ``python tests/make_proofs.py [--recount]``.

It writes ``tinyvae/evaluation/proofs.json``, what the tests hold each op to, and the page
``tutorials/proofs.md`` anew, from the source of the package and of the tests. The planted errors
of an op are caught anew only if their number is another; with ``--recount`` all are.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from proved import Record, lacking, record, recount
from sources import ROOT, at

from tinyvae.autograd import OPS
from tinyvae.evaluation import proofs
from tinyvae.evaluation.cases import CASES

PAGE = ROOT / "tutorials" / "proofs.md"


# The page

INTRODUCTION = """\
# From formula to proof

Every derivation and every op of tinyvae, with the way from its formula to the tests that prove
it. `tinyvae check --explain NAME` prints the same in a terminal, and runs the gradient check on
the spot. This page is written by `python tests/make_proofs.py`; a test holds it to the source.

- **formula**: what the code computes and the slopes that its pullbacks return, from its docstring.
- **code**: the value and the pullbacks, side by side.
- **gradient check**: the cases at which every gradient is compared with central differences and
  the complex step ([gradcheck.py](../tinyvae/checker/gradcheck.py) says how).
- **value**: the oracles that know what the value must be, by the definition: what no gradient
  check can see, since value and pullback may agree on the wrong thing
  ([test_oracles.py](../tests/autograd/test_oracles.py)).
- **compared with**: SymPy, which derives the formula from the definition; PyTorch and JAX, which
  have the same value and gradients at the same inputs.
- **planted errors**: wrong pullbacks and wrong values, by hand and from the source, all of which
  are caught ([tests/planted](../tests/planted)); by the gradient check, by an oracle of the value,
  or by an error that they raise.
"""
HEAD = """\
| formula | code | gradient check | value | compared with | errors planted | caught by check | \
oracle | error |
| --- | --- | --- | --- | --- | --: | --: | --: | --: |"""


def page(found: dict[str, Record]) -> str:
    """The tables of the derivations and of the other ops, then a section for each."""
    parts = [INTRODUCTION]
    for kind, title in (("a derivation", "Derivations"), ("an op", "Everyday ops")):
        rows = [row(name, found[name]) for name in found if proofs.kind(name) == kind]
        parts.append("\n".join([f"## {title}\n", HEAD, *rows, ""]))
    parts.append(f"In all, {proofs.caught(total(found))}.\n")
    parts += [section(name, known) for name, known in found.items()]
    return "\n".join(parts)


def total(found: dict[str, Record]) -> dict[str, int]:
    planted = [known["planted"] for known in found.values()]
    return {by: sum(counts.get(by, 0) for counts in planted) for by in proofs.CAUGHT}


def link(text: object, place: str) -> str:
    return f"[{text}](../{place})"


def code(name: str) -> str:
    path, line = proofs.place(name)
    return at(path, line)


def row(name: str, known: Record) -> str:
    path = Path(code(name).partition("#")[0]).name
    caught = [known["planted"].get(by, 0) for by in proofs.CAUGHT]
    others = ", ".join(link(library, c["at"]) for library, c in known["comparisons"].items())
    check, value = known["check"], known["oracles"]
    cells = [
        f"[{name}](#{name})",
        link(path, code(name)),
        link(counted(check["cases"], "case"), check["at"]),
        link(counted(value["count"], "oracle"), value["at"]),
        *(others, sum(known["planted"].values()), *caught),
    ]
    return f"| {' | '.join(map(str, cells))} |"


def counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'s' * (number != 1)}"


def section(name: str, known: Record) -> str:
    value = known["oracles"]
    lines = [f"- {link(d['name'], d['at'])}: {d['says']}" for d in value["definitions"]]
    others = known["comparisons"].items()
    tests = [f"- {library}: {link(c['test'], c['at'])}" for library, c in others]
    return f"""\
### {name}

```text
{proofs.formula(name)}
```

Code: {link(code(name), code(name))}.
Gradient check: {link(counted(known["check"]["cases"], "case"), known["check"]["at"])}.
Planted errors: {proofs.caught(known["planted"])}.

Oracles of the value, {link(value["at"], value["at"])}:

```python
{value["entry"]}
```

{chr(10).join(lines)}

Compared with:

{chr(10).join(tests)}
"""


# Writing


def written(found: dict[str, Record]) -> dict[Path, str]:
    """The text of the two files."""
    return {proofs.FILE: json.dumps(found, indent=1, ensure_ascii=False) + "\n", PAGE: page(found)}


def main(arguments: list[str]) -> int:
    """Write both, unless an op lacks something, which is said; the number of those that do."""
    known = proofs.records() if proofs.FILE.exists() and "--recount" not in arguments else {}
    counted = {name: recount(name, known[name]["planted"]) for name in known.keys() & CASES.keys()}
    found = {name: record(name, counted.get(name)) for name in dict.fromkeys([*CASES, *OPS])}
    lacks = {name: missing for name in found if (missing := lacking(name, found[name]))}
    for name, missing in lacks.items():
        print(f"{name} lacks: {', '.join(missing)}")
    for path, text in written(found).items() if not lacks else ():
        path.write_text(text, "utf-8")
    return len(lacks)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
