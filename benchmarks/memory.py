"""Count what one training step of a model holds in memory: the `footprint` of a row of `zoo.toml`.

    PYTHONPATH=the repository:object_detection-0.1:slim-0.1 python benchmarks/memory.py tf1|tf2 < pipeline.config

Nothing is run: upstream's own graph of model, loss and gradients is built for pictures of the config's size, and
those tensors are summed that the backward pass reads from the forward pass. The device may hold more for a moment
(gradients on their way, a convolution's workspace), never less.
"""

import sys
from collections.abc import Iterable, Iterator
from typing import Any

CLASSES = 90
"""As COCO has them: a single-stage model's largest tensors are scores of every anchor for every class."""

PICTURES, BOXES = 2, 8


def main() -> None:
    """Print the two numbers of the config on standard input as lines for `zoo.toml`."""
    from google.protobuf import text_format

    from odbuild.trainer import compat

    compat.install(sys.argv[1])
    import tensorflow.compat.v1 as tf
    from object_detection.builders import model_builder
    from object_detection.protos import pipeline_pb2

    config = text_format.Parse(sys.stdin.read(), pipeline_pb2.TrainEvalPipelineConfig()).model
    network = getattr(config, config.WhichOneof("model"))
    network.num_classes = CLASSES
    with tf.Graph().as_default():
        if sys.argv[1] == "tf2":
            tf.keras.backend.set_learning_phase(True)
        height, width, pictures = size(network.image_resizer)
        model = model_builder.build(config, is_training=True)
        weights, kept = count(model, (pictures, height, width, 3))
    print(f"footprint.weights_mb = {weights / 1e6:.0f}")
    print(f"footprint.activations_mb = {kept / pictures / 1e6:.0f}")


def size(resizer: Any) -> tuple[int, int, int]:
    """Return height, width and number of the pictures of a batch."""
    if resizer.WhichOneof("image_resizer_oneof") == "fixed_shape_resizer":
        fixed = resizer.fixed_shape_resizer
        return fixed.height, fixed.width, PICTURES
    kept = resizer.keep_aspect_ratio_resizer
    if kept.pad_to_max_dimension:
        return kept.max_dimension, kept.max_dimension, PICTURES
    return kept.min_dimension, kept.max_dimension, 1


def count(model: Any, shape: tuple[int, int, int, int]) -> tuple[int, int]:
    """Return the bytes of a model's weights, and of all that the backward pass reads of a batch."""
    import tensorflow.compat.v1 as tf

    sizes = tf.constant([shape[1:]] * shape[0])
    edges = [[0.1 * n, 0.1 * n, 0.1 * n + 0.1, 0.1 * n + 0.1] for n in range(BOXES)]
    model.provide_groundtruth(
        groundtruth_boxes_list=[tf.constant(edges)] * shape[0],
        groundtruth_classes_list=[tf.one_hot(list(range(BOXES)), CLASSES)] * shape[0],
        groundtruth_weights_list=[tf.ones([BOXES])] * shape[0],
    )
    losses = model.loss(model.predict(tf.placeholder(tf.float32, shape), sizes), sizes)
    graph = tf.get_default_graph()
    forward = set(graph.get_operations())
    weights = tf.trainable_variables()
    tf.gradients(tf.add_n(list(losses.values())), weights)
    backward = [each for each in graph.get_operations() if each not in forward]
    kept = {source.name: source for source in map(_source, _read(backward, forward))}
    return sum(map(_bytes, weights)), sum(map(_bytes, kept.values()))


def _read(backward: Iterable[Any], forward: set[Any]) -> Iterator[Any]:
    """Yield the tensors that operations read from earlier ones, but for weights and constants."""
    for operation in backward:
        yield from (tensor for tensor in operation.inputs if tensor.op in forward and _is_computed(tensor))


def _is_computed(tensor: Any) -> bool:
    kind = _source(tensor).op.type
    return kind not in {"Const", "Placeholder", "ReadVariableOp", "VarHandleOp", "VariableV2"}


def _source(tensor: Any) -> Any:
    """Return the tensor whose memory another one shares."""
    while tensor.op.type in {"Identity", "Reshape", "ExpandDims", "Squeeze"}:
        tensor = tensor.op.inputs[0]
    return tensor


def _bytes(tensor: Any) -> int:
    """Return a tensor's bytes; 0 where its shape is not known before the run, as of a handful of boxes."""
    elements = tensor.shape.num_elements() if tensor.shape.rank is not None else 0
    return (elements or 0) * int(tensor.dtype.size)


if __name__ == "__main__":
    main()
