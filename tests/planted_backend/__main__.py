"""The planted backend errors, and what the stand-in says of each, by kind."""

from __future__ import annotations

from planted_backend import PLANTED, verdict
from planted_backend.planting import KINDS, goes_unseen

for kind in KINDS:
    errors = [error for error in PLANTED if error.kind == kind]
    print(f"\n{kind}: {len(errors)}")
    for error in errors:
        print(f"  {error.name:52} {verdict(error.scene, error.wrong):.110}")
print(f"\n{len(PLANTED)} in all; {sum(map(goes_unseen, PLANTED))} of them go unseen on NumPy")
