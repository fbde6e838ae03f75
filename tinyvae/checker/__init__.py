"""The checker of gradients: two oracles, the order test, and a diagnosis of usual slips."""

from tinyvae.checker.gradcheck import gradcheck
from tinyvae.checker.report import ArgumentReport, GradientReport
from tinyvae.checker.taylor import Taylor

__all__ = ["ArgumentReport", "GradientReport", "Taylor", "gradcheck"]
