"""The errors of well-known code and of popular explanations, planted in whole systems.

No gradient check sees them: forward and backward agree on the wrong thing.
"""

from __future__ import annotations

from planted.estimates import ESTIMATES
from planted.estimators import ESTIMATORS
from planted.gaussians import GAUSSIANS
from planted.losses import LOSSES
from planted.system import PlantedSystem
from planted.training import TRAINING

PLANTED: list[PlantedSystem] = [*LOSSES, *GAUSSIANS, *ESTIMATES, *ESTIMATORS, *TRAINING]

__all__ = ["PLANTED", "PlantedSystem"]
