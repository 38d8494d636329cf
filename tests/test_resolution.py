import pytest
from google.protobuf import text_format

from odbuild import pipeline, zoo
from odbuild.protos import Protos, pipeline_class
from odbuild.trainer.errors import OdbuildError
from odbuild.trainer.resolution import useful_side
from odbuild.upstream import Upstream

SQUARE = "model { ssd { image_resizer { fixed_shape_resizer { height: 300 width: 300 } } } }"
KEEPING = "keep_aspect_ratio_resizer { min_dimension: 600 max_dimension: 1024 }"
KEPT = f"model {{ faster_rcnn {{ image_resizer {{ {KEEPING} }} }} }}"


@pytest.mark.parametrize(
    ("resizer", "steps", "side"),
    [
        (KEPT, [], 1024),
        (KEPT, ["random_horizontal_flip {}"], 1024),
        (SQUARE, [], 400),
        (SQUARE, ["ssd_random_crop {}"], 1265),
        (SQUARE, ["ssd_random_crop { operations { min_area: 0.5 } operations { min_area: 0.25 } }"], 800),
        (SQUARE, ["random_crop_image { min_area: 0.25 }", "random_adjust_hue {}"], 800),
        (SQUARE, ["random_square_crop_by_scale { scale_min: 0.5 }"], 800),
        (SQUARE, ["random_scale_crop_and_pad_to_square { scale_max: 2.0 }"], 800),
        (SQUARE, ["random_scale_crop_and_pad_to_square { scale_max: 0.5 }"], 400),
    ],
)
def test_the_side_has_room_for_the_resizer_and_the_crops(
    compiled: Protos, resizer: str, steps: list[str], side: int
) -> None:
    options = " ".join(f"data_augmentation_options {{ {step} }}" for step in steps)
    config = text_format.Parse(f"{resizer} train_config {{ {options} }}", pipeline_class(compiled.descriptors)())
    assert useful_side(config) == side


def test_a_resizer_that_tells_no_size_is_refused(compiled: Protos) -> None:
    text = "model { ssd { image_resizer { identity_resizer {} } } }"
    with pytest.raises(OdbuildError, match="identity_resizer tells no size"):
        useful_side(text_format.Parse(text, pipeline_class(compiled.descriptors)()))


def test_every_model_of_the_catalogue_has_a_useful_side(upstream_tree: Upstream, compiled: Protos) -> None:
    for model in (model for model in zoo.models() if not model.unavailable):
        assert 300 <= useful_side(pipeline.sample(model, upstream_tree, compiled)) <= 3072, model.name
