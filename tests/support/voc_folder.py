"""A ground truth as a folder in VOC's form."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

CORNERS = ("xmin", "ymin", "xmax", "ymax")


def write_voc_folder(root: Path, truth: dict[str, Any], split: str) -> Path:
    """Annotations and the split's list, whose path is returned; no images.

    ``truth`` is a COCO document whose boxes are corners in pixels counted from 1, as VOC's files have them.
    """
    for folder in ("Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    names = {one["id"]: escape(one["name"]) for one in truth["categories"]}
    for image in truth["images"]:
        size = f"<size><width>{image['width']}</width><height>{image['height']}</height><depth>3</depth></size>"
        objects = [
            f"<object><name>{names[one['category_id']]}</name><difficult>{one.get('difficult', 0)}</difficult><bndbox>"
            + "".join(f"<{key}>{value}</{key}>" for key, value in zip(CORNERS, one["bbox"], strict=True))
            + "</bndbox></object>"
            for one in truth["annotations"]
            if one["image_id"] == image["id"]
        ]
        stem = Path(image["file_name"]).stem
        (root / "Annotations" / f"{stem}.xml").write_text(f"<annotation>{size}{''.join(objects)}</annotation>")
    listed = root / "ImageSets" / "Main" / f"{split}.txt"
    listed.write_text("".join(f"{Path(image['file_name']).stem}\n" for image in truth["images"]))
    return listed


def zero_based(truth: dict[str, Any]) -> dict[str, Any]:
    """The same ground truth as COCO writes it: XYWH boxes counted from 0, and their areas."""

    def moved(one: dict[str, Any]) -> dict[str, Any]:
        x1, y1, x2, y2 = one["bbox"]
        width, height = x2 - x1 + 1, y2 - y1 + 1
        return one | {"bbox": [x1 - 1, y1 - 1, width, height], "area": width * height, "iscrowd": 0}

    return truth | {"annotations": [moved(one) for one in truth["annotations"]]}
