"""The shims: each still needed by the row at hand, and upstream importable with all of them.

Each question is asked of a process of its own, since a shim changes the process that it is installed in.
"""

import itertools
import math
import os
import subprocess
import sys

import pytest

from odbuild.trainer import compat
from odbuild.trainer.runtime import rows

pytestmark = pytest.mark.tensorflow


def ask(path: str, code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", f"from odbuild.trainer import compat\n{code}"],
        env={**os.environ, "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


def row() -> str:
    """Name the runtime row of the TensorFlow that is installed here."""
    import tensorflow as tf

    return next(known.name for known in rows.load_rows() if tf.__version__.startswith(known.tensorflow))


def test_every_shim_is_still_needed(unpacked: str) -> None:
    here = row()
    needed = ask(unpacked, "print([name for name, shim in compat.SHIMS.items() if shim.needed()])")
    expected = [name for name, shim in compat.SHIMS.items() if here in shim.rows]
    assert needed == str(expected), "a shim can go, or its rows are wrong"


def test_every_shim_names_known_rows() -> None:
    known = {known.name for known in rows.load_rows()}
    assert known == set(compat.ROWS)
    assert all(shim.rows and set(shim.rows) <= known for shim in compat.SHIMS.values())


@pytest.mark.parametrize(("zoo", "eager"), [("tf1", "False"), ("tf2", "True")])
def test_upstream_is_imported_in_the_mode_of_the_zoo(unpacked: str, zoo: str, eager: str) -> None:
    code = f"""
compat.install({zoo!r})
from object_detection import exporter, exporter_lib_v2, inputs, model_lib, model_lib_v2
from object_detection.builders import model_builder
import tensorflow as tf
print(tf.executing_eagerly(), model_builder.tf_version.is_tf2())
"""
    assert ask(unpacked, code) == f"{eager} {eager}"


def test_what_is_stubbed_says_so_when_it_is_used(unpacked: str) -> None:
    code = """
compat.install("tf1")
from lvis import LVIS
from object_detection.matchers import bipartite_matcher
for use in (LVIS, bipartite_matcher.image_ops.bipartite_match):
    try:
        use()
    except NotImplementedError as error:
        print(error)
"""
    told = ask(unpacked, code)
    assert "the LVIS metrics need the package lvis" in told
    assert "tensorflow.contrib, which is gone" in told


def test_efficientnet_is_imported_where_one_is_built_and_not_before(unpacked: str) -> None:
    code = """
compat.install("tf2")
from object_detection.builders import model_builder
from object_detection.models import ssd_efficientnet_bifpn_feature_extractor as user
import sys
print([name for name in sys.modules if name.startswith("official.") and "vision" not in name])
built = user.efficientnet_model.EfficientNet.from_name("efficientnet-b0", overrides={"rescale_input": False})
print([built.get_layer(name).output.shape[-1] for name in user._EFFICIENTNET_LEVEL_ENDPOINTS.values()])
"""
    before, after = ask(unpacked, code).splitlines()
    assert before == "[]"
    # Channels at the strides 2 to 32: table 1 of EfficientNet's paper, arXiv:1905.11946.
    assert after == "[16, 24, 40, 112, 320]"


def test_nasnet_has_its_hyperparameters(unpacked: str) -> None:
    code = """
compat.install("tf1")
import copy
from nets.nasnet import nasnet
one = nasnet.large_imagenet_config()
other = copy.deepcopy(one)
nasnet._update_hparams(other, is_training=False)
print(one.num_cells, one.drop_path_keep_prob, other.drop_path_keep_prob)
"""
    assert ask(unpacked, code) == "18 0.7 1.0"


@pytest.mark.parametrize("maker", ["upstream's", "Keras's own"])
def test_an_optimizer_whose_rate_is_set_follows_the_schedule(unpacked: str, maker: str) -> None:
    """Keras's own asks a callable once: a model would stay at the first rate of its warm-up without an error."""
    code = f"""
compat.install("tf2")
import tensorflow as tf
from google.protobuf import text_format
from object_detection.builders import optimizer_builder
from object_detection.protos import optimizer_pb2
wanted = text_format.Parse('''
momentum_optimizer {{
  learning_rate {{
    cosine_decay_learning_rate {{
      learning_rate_base: 1 warmup_learning_rate: 0.25 warmup_steps: 2 total_steps: 6
    }}
  }}
  momentum_optimizer_value: 0
}}
use_moving_average: false
''', optimizer_pb2.Optimizer())
step, weight = tf.Variable(0, dtype=tf.int64), tf.Variable(0.0)
optimizer, (rate,) = optimizer_builder.build(wanted, global_step=step)
if {maker == "Keras's own"}:
    optimizer = tf.keras.optimizers.SGD(rate)
@tf.function
def go():
    optimizer.learning_rate = rate()
    optimizer.apply_gradients([(tf.constant(-1.0), weight)])
    step.assign_add(1)
    return weight.read_value()
print(*[float(go()) for _ in range(6)])
"""
    weights = [0.0, *map(float, ask(unpacked, code).split())]
    rates = [after - before for before, after in itertools.pairwise(weights)]
    decay = [0.5 * (1 + math.cos(math.pi * step / 4)) for step in range(4)]
    assert rates == pytest.approx([0.25, 0.625, *decay], abs=1e-5)
