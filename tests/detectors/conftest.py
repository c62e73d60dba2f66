"""What a comparison with Detectron2 to the last bit needs."""

from __future__ import annotations

import pytest
from detectron2.modeling.meta_arch import retinanet
from fvcore.nn import sigmoid_focal_loss


@pytest.fixture(autouse=True)
def _focal_loss_as_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Detectron2's RetinaNet runs the focal loss as TorchScript, which rewrites itself between calls and then rounds
    otherwise: which bits it gives depends on the tests before. The same function without TorchScript does not.
    """
    monkeypatch.setattr(retinanet, "sigmoid_focal_loss_jit", sigmoid_focal_loss)
