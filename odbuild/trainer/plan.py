"""What `prepare` found out and `run` goes by: one frozen value, kept as JSON between the two."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path("plan.json")
"""Beside start.sh, in the folder that both stages run in."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A prepared run.

    Attributes:
        model: Catalogue name.
        zoo: `tf1` or `tf2`.
        steps: Training steps, at least 1.
        batch_size: Pictures a step.
        gpu: Whether the run was set up for a graphics card.
        pipeline: Path of the pipeline config, ready to train.
        checkpoint: Prefix of the checkpoint to start from, or None for random weights.
        labels: Class names, in the order of their ids from 1.
        data: Folder of the run's own, for its records too where DATA_DIR holds photographs.
        validation_records: Paths of the validation shards.
        fingerprint: Identifies model, data and start; a run only resumes one of the same fingerprint.
        result: RESULT_DIR.
    """

    model: str
    zoo: str
    steps: int
    batch_size: int
    gpu: bool
    pipeline: str
    checkpoint: str | None
    labels: tuple[str, ...]
    data: str
    validation_records: tuple[str, ...]
    fingerprint: str
    result: str

    @property
    def checkpoints(self) -> Path:
        """The folder of the run's own checkpoints."""
        return Path(self.result) / "checkpoints"

    def save(self, path: Path = FILE) -> None:
        """Write the plan as JSON."""
        path.write_text(json.dumps(dataclasses.asdict(self), indent=1), encoding="utf-8")


def load(path: Path = FILE) -> Plan:
    """Read a plan that was saved."""
    fields: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    lists = {name: tuple(value) for name, value in fields.items() if isinstance(value, list)}
    return Plan(**{**fields, **lists})
