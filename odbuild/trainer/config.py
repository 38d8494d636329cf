"""Pipeline configs as text, by upstream's own generated classes."""

from pathlib import Path
from typing import Any


def read(path: Path) -> Any:
    """Return the TrainEvalPipelineConfig in a text file."""
    from google.protobuf import text_format
    from object_detection.protos import pipeline_pb2

    return text_format.Parse(path.read_text(encoding="utf-8"), pipeline_pb2.TrainEvalPipelineConfig())


def write(path: Path, config: Any) -> None:
    """Write a TrainEvalPipelineConfig as a text file."""
    from google.protobuf import text_format

    path.write_text(text_format.MessageToString(config), encoding="utf-8")
