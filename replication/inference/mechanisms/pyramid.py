"""Size of the balanced pyramid's features, and how much its refinement changes them (Libra R-CNN, section 3.2)."""

from __future__ import annotations

from typing import Any

from detectron2.config import CfgNode
from torch import Tensor

from replication.catalog import AreaRanges
from replication.detectors.libra.pyramid import BalancedPyramid
from replication.inference.mechanisms.tally import Means, Measure


class Pyramid:
    """A balanced pyramid inside a model's backbone."""

    def __init__(self, model: Any, pyramid: BalancedPyramid) -> None:
        self.model, self.pyramid = model, pyramid
        self.rms, self.residual = Means(), Means()

    @classmethod
    def of(cls, model: Any, cfg: CfgNode, areas: AreaRanges) -> Pyramid | None:
        """None for a backbone without one."""
        found = [part for part in model.modules() if isinstance(part, BalancedPyramid)]
        return cls(model, found[0]) if found else None

    def look(self, item: dict[str, Any]) -> None:
        """See ``Probe``."""
        hooks = [
            self.pyramid.inner.register_forward_hook(lambda _, __, levels: self._add("in", levels)),
            self.pyramid.register_forward_hook(lambda _, __, levels: self._add("out", levels)),
        ]
        if self.pyramid.refined:
            hooks.append(self.pyramid.refine.register_forward_hook(self._add_residual))
        try:
            self.model.backbone(self.model.preprocess_image([item]).tensor)
        finally:
            for hook in hooks:
                hook.remove()

    def _add(self, line: str, levels: dict[str, Tensor]) -> None:
        for name, level in levels.items():
            self.rms.add(line, name.upper(), _rms(level))

    def _add_residual(self, _: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        self.residual.add("refinement", "ratio", _rms(output - inputs[0]) / max(_rms(inputs[0]), 1e-12))

    def measures(self) -> list[Measure]:
        """See ``Probe``."""
        return [
            *self.rms.measure("pyramid_rms", "RMS of the pyramid's features, before and after balancing"),
            *self.residual.measure("pyramid_residual", "RMS of the refinement's residual over that of its input"),
        ]


def _rms(features: Tensor) -> float:
    return float(features.float().pow(2).mean().sqrt())
