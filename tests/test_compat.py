"""The shims: each still needed by the row at hand, and upstream importable with all of them.

Each question is asked of a process of its own, since a shim changes the process that it is installed in.
"""

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
