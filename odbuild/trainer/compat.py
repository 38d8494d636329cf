"""Give today's TensorFlow back what upstream, which stays as it is, still asks of it.

Every shim is one function with its reason. `SHIMS` says in which runtime rows each is still needed;
a test asks each row's TensorFlow and fails where a shim could go.
"""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import logging
import os
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROWS = ("tf2.15", "tf2.21")


@dataclass(frozen=True, kw_only=True, slots=True)
class Shim:
    """One repair.

    Attributes:
        needed: Says whether the TensorFlow at hand lacks what the repair gives.
        install: Makes the repair; called only where it is needed.
        zoos: The zoos whose code asks for it.
        rows: The runtime rows in which it is still needed.
    """

    needed: Callable[[], bool]
    install: Callable[[], None]
    zoos: Sequence[str] = ("tf1", "tf2")
    rows: Sequence[str] = ROWS


def install(zoo: str) -> None:
    """Make this process ready to import upstream for the models of a zoo, `tf1` or `tf2`.

    Call it once, before anything of `object_detection` is imported: TF1 mode in particular has to be
    chosen before upstream's modules look at the version they run on.
    """
    # Keras 3 has none of the layers that upstream builds on. TensorFlow reads this when it is imported, and
    # up to 2.15, where Keras 2 is still its own, fails on "1" without the package tf_keras.
    os.environ["TF_USE_LEGACY_KERAS"] = "0" if _missing("tf_keras") else "1"
    import tensorflow.compat.v1 as tf

    # Upstream warns once for every head that it does not restore; `checkpoint.compare` counts them.
    logging.getLogger().setLevel(logging.ERROR)
    tf.logging.set_verbosity(tf.logging.ERROR)
    if zoo == "tf1":
        tf.disable_v2_behavior()
    for shim in SHIMS.values():
        if zoo in shim.zoos and shim.needed():
            shim.install()


def _missing(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is None
    except (ImportError, ValueError):
        return True


def _module(name: str, **attributes: Any) -> types.ModuleType:
    """Register a made-up module (as a package, so that it can have children) and bind it to its parent."""
    module = types.ModuleType(name)
    module.__path__ = []
    module.__dict__.update(attributes)
    sys.modules[name] = module
    parent, _, leaf = name.rpartition(".")
    if parent in sys.modules:
        setattr(sys.modules[parent], leaf, module)
    return module


def _refusing(name: str, why: str) -> type:
    """Return a class that can be imported and named, but says why it cannot be used."""

    def refuse(*_: object, **__: object) -> None:
        raise NotImplementedError(f"{name}: {why}")

    return type(name, (), {"__init__": refuse})


def _install_lvis() -> None:
    """`metrics/lvis_evaluation.py` imports lvis for every model; lvis would bring OpenCV and Cython."""
    why = "the LVIS metrics need the package lvis, which no bundle carries"
    _module("lvis", LVIS=_refusing("LVIS", why))
    _module("lvis.lvis", LVIS=_refusing("LVIS", why))
    _module("lvis.results", LVISResults=_refusing("LVISResults", why))
    _module("lvis.eval", LVISEval=_refusing("LVISEval", why))


EFFICIENTNET = "official.legacy.image_classification.efficientnet.efficientnet_model"


def _efficientnet_has_moved() -> bool:
    """Look at files alone: to import `official.vision` needs packages that no row has."""
    found = importlib.util.find_spec("official")
    places = (found and found.submodule_search_locations) or ()
    return not any(Path(place, "vision", "image_classification", "efficientnet").is_dir() for place in places)


def _install_efficientnet() -> None:
    """`model_builder` imports EfficientNet on TensorFlow 2 for every model; tf-models-official 2.9 moved it.

    It is imported where an EfficientDet is built, so that no other model depends on it.
    """

    def from_name(*arguments: Any, **named: Any) -> Any:
        return importlib.import_module(EFFICIENTNET).EfficientNet.from_name(*arguments, **named)

    efficientnet = types.SimpleNamespace(from_name=from_name)
    # A module that is registered is imported without its parents, so that the real ones stay as they are.
    _module(
        "official.vision.image_classification.efficientnet",
        efficientnet_model=types.SimpleNamespace(EfficientNet=efficientnet),
    )


class _Alias(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Import the first module that exists under the name of one that is gone."""

    def __init__(self, table: Mapping[str, Sequence[str]]) -> None:
        self.table = table

    def find_spec(
        self, name: str, _path: object = None, _target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in self.table:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        found = next(name for name in self.table[spec.name] if not _missing(name))
        return importlib.import_module(found)

    def exec_module(self, module: types.ModuleType) -> None:
        """Do nothing: the module ran under its own name."""


def _install_keras_applications() -> None:
    """`keras_models/resnet_v1.py` reads a private copy of Keras that TensorFlow 2.9 dropped."""
    old, new = "tensorflow.python.keras.applications", ("tf_keras.src.applications", "keras.src.applications")
    table = {f"{old}{leaf}": tuple(f"{name}{leaf}" for name in new) for leaf in ("", ".resnet")}
    sys.meta_path.insert(0, _Alias(table))


_NUMPY_ALIASES: Mapping[str, type] = {"bool": bool, "float": float, "int": int}


def _numpy_lacks_aliases() -> bool:
    import numpy as np

    return any(name not in vars(np) for name in _NUMPY_ALIASES)


def _install_numpy_aliases() -> None:
    """Slim's nets and upstream's metrics use the names of Python's types that numpy 1.24 dropped."""
    import numpy as np

    for name, kind in _NUMPY_ALIASES.items():
        setattr(np, name, kind)


def _pillow_lacks_getsize() -> bool:
    from PIL import ImageFont

    return not hasattr(ImageFont.FreeTypeFont, "getsize")


def _install_pillow_getsize() -> None:
    """`visualization_utils.py` measures text with what Pillow 10 removed; left alone it ends in a crash."""
    from PIL import ImageFont

    def getsize(font: Any, text: str) -> tuple[int, int]:
        _, _, right, bottom = font.getbbox(text)
        return int(right), int(bottom)

    for kind in (ImageFont.FreeTypeFont, ImageFont.ImageFont, ImageFont.TransposedFont):
        kind.getsize = getsize  # type: ignore[union-attr]


class _HParams(types.SimpleNamespace):
    """What NASNet of slim uses of `tf.contrib.training.HParams`: named values, one of which it changes."""

    def set_hparam(self, name: str, value: Any) -> None:
        setattr(self, name, value)


def _install_contrib() -> None:
    """`bipartite_matcher.py`, the exporter and NASNet read tensorflow.contrib, gone since TensorFlow 2.0.

    No config of the zoo uses the matcher. The profiler only prints counts of parameters and operations.
    """

    def bipartite_match(*_: object, **__: object) -> None:
        raise NotImplementedError("the bipartite matcher needs tensorflow.contrib, which is gone")

    def print_model_analysis(*_: object, **__: object) -> None:
        return None

    for name in ("contrib", "contrib.image", "contrib.image.python", "contrib.image.python.ops"):
        _module(f"tensorflow.{name}")
    _module("tensorflow.contrib.image.python.ops.image_ops", bipartite_match=bipartite_match)
    _module("tensorflow.contrib.training", HParams=_HParams)
    analyzer = types.SimpleNamespace(
        TRAINABLE_VARS_PARAMS_STAT_OPTIONS={}, FLOAT_OPS_OPTIONS={}, print_model_analysis=print_model_analysis
    )
    _module("tensorflow.contrib.tfprof", model_analyzer=analyzer)


def _moved_names() -> list[tuple[types.ModuleType, str, Any]]:
    """List the private names that tf_slim 1.1.0 reads and TensorFlow 2.9 to 2.13 moved elsewhere."""
    import tensorflow.compat.v1 as tf
    from tensorflow.python.framework import ops
    from tensorflow.python.ops import array_ops, control_flow_ops, variable_scope

    wanted = {
        control_flow_ops: {n: getattr(tf, n) for n in ("case", "cond", "while_loop", "Assert")},
        array_ops: {n: getattr(tf, n) for n in ("stack", "unstack")},
        ops: {n: getattr(tf, n) for n in ("Tensor", "IndexedSlices")},
        variable_scope: {"variable": tf.Variable},
    }
    return [(m, n, v) for m, names in wanted.items() for n, v in names.items() if not hasattr(m, n)]


def _install_moved_names() -> None:
    """tf_slim 1.1.0, the last there is, reads private names that TensorFlow has moved since."""
    for module, name, value in _moved_names():
        setattr(module, name, value)


def _layers_lack_batch_norm() -> bool:
    from tensorflow.python.layers import normalization

    # A lazy module: asking may raise ImportError (2.15) or AttributeError (2.21).
    try:
        normalization.BatchNormalization  # noqa: B018
    except (AttributeError, ImportError):
        return True
    return False


def _install_batch_norm() -> None:
    """tf_slim's batch_norm reads tensorflow.python.layers.normalization, which forwards to nothing."""
    import tensorflow.compat.v1 as tf
    from tensorflow.python.layers import normalization

    normalization.BatchNormalization = normalization.BatchNorm = tf.layers.BatchNormalization


def _estimator_is_gone() -> bool:
    import tensorflow.compat.v1 as tf

    return not hasattr(tf, "estimator")


def _install_estimator() -> None:
    """TensorFlow 2.16 dropped tf.estimator: build the few names used from tensorflow-estimator 2.15.

    The package's own `__init__` registers a public API with a TensorFlow that no longer takes it, so the
    package is entered beside it, and its export decorator is made to do nothing.
    """
    import tensorflow.compat.v1 as tf

    found = importlib.util.find_spec("tensorflow_estimator")
    if found is None or found.submodule_search_locations is None:
        raise ModuleNotFoundError("No module named 'tensorflow_estimator'", name="tensorflow_estimator")
    _module("tensorflow_estimator").__path__ = list(found.submodule_search_locations)
    export = type("estimator_export", (), {"__init__": _accept, "__call__": lambda _, f: f})
    export.export_constant = _accept  # type: ignore[attr-defined]
    _module("tensorflow_estimator.python.estimator.estimator_export", estimator_export=export)
    _install_estimator_training()
    tf.estimator = _estimator_names()


def _accept(*_: object, **__: object) -> None:
    """Take anything and do nothing."""


def _install_estimator_training() -> None:
    """RunConfig asks a module that spread training over several machines, and its own private parts."""
    import tensorflow.python.distribute  # noqa: F401  the parent of the made-up module

    def init_run_config(config: Any, tf_config: Mapping[str, Any]) -> None:
        config._init_distributed_setting_from_environment_var(tf_config)  # noqa: SLF001
        config._distribute_coordinator_mode = None  # noqa: SLF001
        config._maybe_overwrite_session_config_for_distributed_training()  # noqa: SLF001

    _module(
        "tensorflow.python.distribute.estimator_training",
        CHIEF="chief",
        EVALUATOR="evaluator",
        PS="ps",
        WORKER="worker",
        init_run_config=init_run_config,
        should_run_distribute_coordinator=lambda _: False,
    )


def _estimator_names() -> types.ModuleType:
    base = "tensorflow_estimator.python.estimator"
    wanted = {
        "estimator": ("Estimator", "WarmStartSettings"),
        "model_fn": ("EstimatorSpec",),
        "mode_keys": ("ModeKeys",),
        "run_config": ("RunConfig",),
    }
    names = {n: getattr(importlib.import_module(f"{base}.{m}"), n) for m, ns in wanted.items() for n in ns}
    export = importlib.import_module(f"{base}.export.export_lib")
    return _module("tensorflow.compat.v1.estimator", export=export, **names)


SHIMS: Mapping[str, Shim] = {
    "lvis": Shim(needed=lambda: _missing("lvis"), install=_install_lvis),
    "efficientnet": Shim(needed=_efficientnet_has_moved, install=_install_efficientnet, zoos=("tf2",)),
    "keras applications": Shim(
        needed=lambda: _missing("tensorflow.python.keras.applications"),
        install=_install_keras_applications,
        zoos=("tf2",),
    ),
    "numpy aliases": Shim(needed=_numpy_lacks_aliases, install=_install_numpy_aliases),
    "pillow getsize": Shim(needed=_pillow_lacks_getsize, install=_install_pillow_getsize),
    "contrib": Shim(needed=lambda: _missing("tensorflow.contrib"), install=_install_contrib, zoos=("tf1",)),
    "moved names": Shim(needed=lambda: bool(_moved_names()), install=_install_moved_names),
    "batch norm": Shim(needed=_layers_lack_batch_norm, install=_install_batch_norm),
    "estimator": Shim(needed=_estimator_is_gone, install=_install_estimator, rows=("tf2.21",)),
}
