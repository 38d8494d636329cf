"""Checks of the annotations as a file: its shape, its keys, its numbers; most of them made while it is read."""

from collections.abc import Iterator
from dataclasses import replace

from ..findings import Finding
from .catalogue import rule
from .data import Data


@rule("ANN001", "error", "the annotations are not of the shape that their format has")
def shape(data: Data) -> Iterator[Finding]:
    """A part of the annotations is not what the format says, so nobody can know what was meant.

    A box that lacks an edge, a row that lacks a column, a file that is no JSON or XML at all. Export the dataset
    again, or mend the place that is named.
    """
    yield from data.found.get("ANN001", ())


@rule("ANN002", "error", "the annotations name a picture that has no file")
def missing_file(data: Data) -> Iterator[Finding]:
    """The key of a picture leads to no file. Names are compared letter by letter, as Linux does.

    Most converters leave such pictures out without a word and train on less. Put the file there, or delete the
    picture from the annotations; where another file has nearly the same name, it is suggested.
    """
    for finding in data.found.get("ANN002", ()):
        yield replace(finding, severity="error")


@rule("ANN003", "warning", "a picture has no box")
def background(data: Data) -> Iterator[Finding]:
    """A picture without boxes trains as background, which is of use if it is meant.

    A warning where somebody marked the picture with a class but drew no box. `--negatives drop` leaves pictures
    without boxes out of a bundle's training.
    """
    yield from data.found.get("ANN003", ())


@rule("ANN005", "error", "the name of a picture does not lead to a plain file in the folder")
def odd_key(data: Data) -> Iterator[Finding]:
    """The key is an absolute path, leads out of the folder, holds control characters, or names no regular file.

    Such names are never opened: annotations are somebody else's input. Two keys that differ in case alone are one
    file on the disks of Macs and Windows, where one picture would take the other's place. Rename them.
    """
    yield from data.found.get("ANN005", ())


@rule("ANN006", "error", "a key stands twice in one object")
def repeated_key(data: Data) -> Iterator[Finding]:
    """JSON readers keep the last of two equal keys and drop the other with all its boxes, without a word.

    Merge the two by hand, or export the dataset again. So it is with ids, files of annotations and names of
    pictures of which two are for the same thing.
    """
    yield from data.found.get("ANN006", ())


@rule("ANN007", "error", "a coordinate is no number, or of another unit")
def unit(data: Data) -> Iterator[Finding]:
    """A coordinate is no number, or so far from the format's range that it must be meant in another unit.

    Pixels where fractions of the picture are expected give boxes far outside, and training ends in NaN.
    """
    yield from data.found.get("ANN007", ())
