"""Photographs of every kind of JPEG, and what happens to files: a corpus that is made, the same for each seed."""

import random
from collections.abc import Callable, Iterator

import jpegs
import pictures
from PIL import Image, ImageDraw

Damage = Callable[[bytes, bytes, random.Random], bytes]


def photograph(width: int, height: int, seed: int, mode: str = "RGB") -> Image.Image:
    """Return a picture with the coarse, middle and fine detail that photographs have."""
    dice = random.Random(seed)  # noqa: S311
    layers = [Image.frombytes("RGB", (n, n), dice.randbytes(3 * n * n)) for n in (4, 16, 64)]
    coarse, middle, fine = (layer.resize((width, height), Image.Resampling.BICUBIC) for layer in layers)
    picture = Image.blend(Image.blend(coarse, middle, 0.3), fine, 0.15)
    pen = ImageDraw.Draw(picture)
    for _ in range(6):
        x, y = dice.randrange(width), dice.randrange(height)
        pen.ellipse((x, y, x + width // 5, y + height // 6), fill=tuple(dice.randbytes(3)))
    return picture.convert(mode)


def good(seed: int, width: int = 320, height: int = 240) -> dict[str, bytes]:
    """Return one file of each kind of JPEG that the imaging library writes."""
    colours = photograph(width, height, seed)
    return {
        "baseline": pictures.encoded(colours, quality=85),
        "optimized": pictures.encoded(colours, quality=92, optimize=True, subsampling=0),
        "progressive": pictures.encoded(colours, quality=85, progressive=True),
        "gray": pictures.encoded(colours.convert("L"), quality=85),
        "cmyk": pictures.encoded(photograph(width, height, seed, "CMYK"), quality=85),
        "restarts": pictures.encoded(colours, quality=85, restart_marker_rows=1),
    }


def cut(data: bytes, _other: bytes, dice: random.Random) -> bytes:
    """End somewhere."""
    return data[: dice.randrange(len(data))]


def flipped(data: bytes, _other: bytes, dice: random.Random) -> bytes:
    """Flip one to eight bits."""
    out = bytearray(data)
    for _ in range(dice.randrange(1, 9)):
        out[dice.randrange(len(out))] ^= 1 << dice.randrange(8)
    return bytes(out)


def zeroed(data: bytes, _other: bytes, dice: random.Random) -> bytes:
    """Overwrite a span with zeros, as a lost block of a disk does."""
    out = bytearray(data)
    length = dice.choice((16, 64, 512, 4096))
    at = dice.randrange(max(1, len(out) - length))
    out[at : at + length] = bytes(len(out[at : at + length]))
    return bytes(out)


def mangled(data: bytes, _other: bytes, dice: random.Random) -> bytes:
    """Overwrite one to four bytes of the headers."""
    out = bytearray(data)
    headers = jpegs.pixels(data)[0]
    for _ in range(dice.randrange(1, 5)):
        out[dice.randrange(2, headers)] = dice.randrange(256)
    return bytes(out)


def shuffled(data: bytes, _other: bytes, dice: random.Random) -> bytes:
    """Lose, repeat or swap segments of the headers."""
    parts = list(jpegs.segments(data))
    at, to = dice.randrange(len(parts)), dice.randrange(len(parts))
    way = dice.randrange(3)
    if way == 0:
        del parts[at]
    elif way == 1:
        parts.insert(to, parts[at])
    else:
        parts[at], parts[to] = parts[to], parts[at]
    rest = data[jpegs.pixels(data)[0] :]
    return b"\xff\xd8" + b"".join(parts) + rest


def lost(data: bytes, _other: bytes, dice: random.Random) -> bytes:
    """Leave a span out."""
    at = dice.randrange(len(data))
    return data[:at] + data[at + dice.randrange(1, 2000) :]


def swapped(data: bytes, other: bytes, dice: random.Random) -> bytes:
    """Go on with another file from somewhere in the middle half."""
    share = dice.uniform(0.25, 0.75)
    return data[: int(len(data) * share)] + other[int(len(other) * share) :]


WAYS: tuple[Damage, ...] = (cut, flipped, zeroed, mangled, shuffled, lost, swapped)


def corpus(seed: int, rounds: int) -> Iterator[tuple[str, bytes, bytes]]:
    """Yield how each file was made and damaged, the damaged bytes, and the good ones."""
    dice = random.Random(seed)  # noqa: S311
    for index in range(rounds):
        files, others = good(seed + 2 * index), good(seed + 2 * index + 1)
        for kind, data in files.items():
            for way in WAYS:
                yield f"{kind} {way.__name__}", way(data, others[kind], dice), data


def looks_like(picture: bytes, other: bytes | None) -> bool:
    """Say whether the samples of two pictures differ by so little that nobody sees it: a PSNR of 40 dB or more."""
    if other is None or len(picture) != len(other):
        return False
    squares = sum((a - b) ** 2 for a, b in zip(picture, other, strict=True))
    return squares <= len(other) * 255**2 / 10**4
