"""Claims as in ``verdicts.json``, for tests of what the page says of them."""

from __future__ import annotations


def entry(
    id="one", table="T1", row="B", variant="b", paper="p", metric="AP", criterion="iou", claimed=1.2, measured=0.4,
    verdict="inconclusive", reason="", unit="percent", primary=True, qualifiers=(), **more,
):  # fmt: skip
    """Row B over row A: +1.2 claimed on 40, +0.4 measured on 20, interval -0.6 to 1.4, 0.9 detectable."""
    return {
        "id": id, "paper": paper, "table": table, "primary": primary, "verdict": verdict, "reason": reason,
        "qualifiers": list(qualifiers), "unit": unit, "backbone": "R-50", "estimand": "new images",
        "row": {"id": row.lower(), "label": row, "variant": variant},
        "baseline": {"id": "a", "label": "A", "variant": "a"},
        "column": {"id": metric, "head": metric, "metric": metric, "criterion": criterion},
        "claimed": {"gain": claimed, "relative_percent": 100 * claimed / 40, "stated": None, "cut": claimed / 2},
        "measured": None if measured is None else {"gain": measured, "relative_percent": 100 * measured / 20},
        "runs": {"row": 3, "baseline": 3} if measured is not None else {"row": 0, "baseline": 0},
        "image_interval": None,
        "estimates": {
            "new images": {
                "interval": {"low": -0.6, "high": 1.4, "relative_percent": [-3.0, 7.0]},
                "cut_test": {"interval": {"low": -1.6, "high": 2.4, "relative_percent": [-8.0, 12.0]}},
                "minimum_detectable_gain": 0.9,
            }
        },
    } | more  # fmt: skip
