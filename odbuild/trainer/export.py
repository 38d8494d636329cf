"""Export a trained checkpoint as what clients load: a SavedModel, and for TF1 a frozen graph too."""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from . import checkpoint, config
from .index import LABEL_MAP
from .labels import to_pbtxt
from .plan import Plan

FROZEN = "frozen_inference_graph.pb"


def export(plan: Plan, prefix: Path, target: Path) -> tuple[str, ...]:
    """Write `saved_model.pb`, `variables/`, the label files and, for TF1, the frozen graph.

    The folder appears whole, in place of one of an earlier export. Its input is a uint8 picture of any size,
    shape [1, height, width, 3], RGB; its outputs are upstream's, boxes as ymin, xmin, ymax, xmax fractions.

    Returns:
        The names of the exports in the folder.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as scratch:
        raw, ready = Path(scratch) / "raw", Path(scratch) / "ready"
        (_export_tf1 if plan.zoo == "tf1" else _export_tf2)(config.read(Path(plan.pipeline)), prefix, raw)
        shutil.copytree(raw / "saved_model", ready)
        if (raw / FROZEN).exists():
            shutil.copyfile(raw / FROZEN, ready / FROZEN)
        (ready / "labels.json").write_text(json.dumps(plan.labels, ensure_ascii=False), encoding="utf-8")
        (ready / LABEL_MAP).write_text(to_pbtxt(plan.labels), encoding="ascii")
        shutil.rmtree(target, ignore_errors=True)
        ready.replace(target)
    return tuple(name for name in ("saved_model.pb", FROZEN) if (target / name).exists())


def _export_tf1(pipeline: Any, prefix: Path, folder: Path) -> None:
    import tensorflow.compat.v1 as tf
    from object_detection import exporter

    with tf.Graph().as_default():
        exporter.export_inference_graph("image_tensor", pipeline, str(prefix), str(folder))


def _export_tf2(pipeline: Any, prefix: Path, folder: Path) -> None:
    import tensorflow as tf
    from object_detection import exporter_lib_v2

    # Upstream takes a folder and its newest checkpoint, and may tidy the folder: it gets one of its own.
    alone = folder.parent / "checkpoint"
    tf.compat.v1.train.update_checkpoint_state(str(alone), str(checkpoint.copy(prefix, alone)))
    exporter_lib_v2.export_inference_graph("image_tensor", pipeline, str(alone), str(folder))
