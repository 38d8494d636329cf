"""Ways to break the rules of checkpoints and of trainer.zip: a sound one is made, and a file or member changed.

The bundle is made once, without a checkpoint, which takes seconds and needs upstream.
"""

import hashlib
import io
import json
import struct
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

from hypothesis import strategies as st
from PIL import Image as Pillow

from odbuild import archive, bundle, zoo
from odbuild.archive import Entry
from odbuild.rules.trainer_zip import GPS, MANIFEST, START
from odbuild.rules.weights import OBJECT_GRAPH
from odbuild.trainer.crc import masked_crc

from . import pictures
from .protowire import varint
from .ways import Broken, breaks, register

MODEL = "ssd_mobilenet_v2"
PREFIX, ZIP = "model.ckpt", "trainer.zip"
INDEX, DATA = f"{PREFIX}.index", f"{PREFIX}.data-00000-of-00001"


def checkpoint(tensors: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the files of a checkpoint of few and short tensors, as TensorFlow's BundleWriter makes them."""
    at = 0
    entries = [(b"", b"\x08\x01")]
    for name, value in sorted(tensors.items()):
        crc = struct.pack("<BI", 6 << 3 | 5, masked_crc(value))
        entries.append((name.encode(), b"\x08\x01\x20" + varint(at) + b"\x28" + varint(len(value)) + crc))
        at += len(value)
    rows = (bytes([0]) + varint(len(key)) + varint(len(value)) + key + value for key, value in entries)
    block = _block(b"".join(rows) + struct.pack("<II", 0, 1))
    meta = _block(struct.pack("<II", 0, 1))
    handle = varint(0) + varint(len(block) - 5)
    listing = bytes([0, 1, len(handle)]) + b"~" + handle + struct.pack("<II", 0, 1)
    handles = b"".join(map(varint, (len(block), len(meta) - 5, len(block) + len(meta), len(listing))))
    footer = handles.ljust(40, b"\0") + struct.pack("<Q", 0xDB4775248B80FB57)
    data = b"".join(value for _, value in sorted(tensors.items()))
    return {INDEX: block + meta + _block(listing) + footer, DATA: data}


def _block(data: bytes) -> bytes:
    return data + b"\0" + struct.pack("<I", masked_crc(data + b"\0"))


_tensors = st.dictionaries(
    st.text("abcdefghijklmnopqrstuvwxyz/_0123456789", min_size=1, max_size=20),
    st.binary(min_size=1, max_size=200),
    min_size=1,
    max_size=4,
)


@breaks("CKP801")
@st.composite
def _damaged(draw: st.DrawFn) -> Broken:
    files = checkpoint(draw(_tensors))
    data = bytearray(files[DATA])
    at = draw(st.integers(0, len(data) - 1))
    way = draw(st.sampled_from(["bit", "cut", "gone"]))
    if way == "bit":
        data[at] ^= 1 << draw(st.integers(0, 7))
    files[DATA] = bytes(data[:at] if way == "cut" else data)
    if way == "gone":
        del files[DATA]
    return Broken(code="CKP801", what=f"{way} at byte {at}", files=files, paths=(PREFIX,))


@breaks("CKP802")
@st.composite
def _other_line(draw: st.DrawFn) -> Broken:
    model = draw(st.sampled_from([model for model in zoo.models() if not model.unavailable]))
    tensors = draw(_tensors)
    if model.zoo == "tf1":
        tensors = {**tensors, OBJECT_GRAPH: b"graph"}
    options = {"model": model.name}
    return Broken(code="CKP802", what=model.name, files=checkpoint(tensors), paths=(PREFIX,), options=options)


Members = dict[str, Entry]


@cache
def bundled() -> Mapping[str, Entry]:
    """Return the members of a bundle without a checkpoint, by name below its folder."""
    with tempfile.TemporaryDirectory() as folder:
        made = bundle.bundle(bundle.Request(model=MODEL, out=Path(folder), checkpoint="none"), lambda _: None)
        with zipfile.ZipFile(made.path) as opened:
            return {
                info.filename.removeprefix("trainer/"): Entry(
                    info.filename, opened.read(info), executable=bool(info.external_attr >> 16 & 0o100)
                )
                for info in opened.infolist()
            }


def zipped(members: Members, *, listed: bool = True) -> bytes:
    """Return a bundle; its manifest lists the members as they are, unless it is to be the old one."""
    if listed:
        content = json.loads(members[MANIFEST].data)
        digests = {name: hashlib.sha256(one.data).hexdigest() for name, one in members.items()}
        content["members"] = {name: {"sha256": digest} for name, digest in digests.items() if name != MANIFEST}
        put_member(members, MANIFEST, json.dumps(content).encode())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, ZIP)
        archive.write_zip(members.values(), path)
        return path.read_bytes()


def put_member(members: Members, name: str, data: bytes, *, executable: bool = False) -> None:
    """Put a member into a bundle, or in the place of the one of that name."""
    members[name] = Entry(f"trainer/{name}", data, executable=executable)


Change = Callable[[st.DrawFn, Members], str]


def changes(code: str, *also: str, listed: bool = True) -> Callable[[Change], Change]:
    """Register the decorated change of a bundle's members, which returns where or how."""

    @st.composite
    def made(draw: st.DrawFn, change: Change) -> Broken:
        members = dict(bundled())
        what = change(draw, members)
        return _broken(code, what, zipped(members, listed=listed), also)

    def take(change: Change) -> Change:
        register(code, made(change))
        return change

    return take


def _broken(code: str, what: str, data: bytes, also: tuple[str, ...] = ()) -> Broken:
    files = {ZIP: data, "rehearsal.json": b'{"problems": []}'}
    return Broken(code=code, what=what, files=files, paths=(ZIP,), also=frozenset(also))


_words = st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=9)

_PLAIN = ("trainer/labels.py", "trainer/records.py", "trainer/png.py")
"""Members that nothing but the manifest speaks of."""


@changes("ZIP1001", listed=False)
def _other_members(draw: st.DrawFn, members: Members) -> str:
    name = draw(st.sampled_from(_PLAIN))
    way = draw(st.sampled_from(["more", "changed", "gone"]))
    if way == "more":
        put_member(members, name := f"more-{draw(_words)}.txt", draw(st.binary(max_size=20)))
    elif way == "changed":
        put_member(members, name, members[name].data + b"#")
    else:
        del members[name]
    return f"{name} {way}"


@breaks("ZIP1001")
@st.composite
def _flipped(draw: st.DrawFn) -> Broken:
    members = dict(bundled())
    data = bytearray(zipped(members))
    name = draw(st.sampled_from(_PLAIN))
    at = data.index(members[name].data) + draw(st.integers(0, len(members[name].data) - 1))
    data[at] ^= 1 << draw(st.integers(0, 7))
    return _broken("ZIP1001", f"{name} damaged", bytes(data))


@breaks("ZIP1002")
@st.composite
def _by_chance(draw: st.DrawFn) -> Broken:
    way = draw(st.sampled_from(["date", "mode", "compression", "order"]))
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(zipped(dict(bundled())))) as opened, zipfile.ZipFile(out, "w") as new:
        every = opened.infolist()
        at = draw(st.integers(0, len(every) - 2))
        if way == "order":
            every[at], every[at + 1] = every[at + 1], every[at]
        for number, info in enumerate(every):
            data = opened.read(info)
            if number == at and way == "date":
                info.date_time = (draw(st.integers(1981, 2100)), 2, 28, 12, 0, 0)
            if number == at and way == "mode":
                info.external_attr = (info.external_attr >> 16 | 0o020) << 16
            if number == at and way == "compression":
                info.compress_type = zipfile.ZIP_DEFLATED
            new.writestr(info, data)
    return _broken("ZIP1002", f"{way} of {every[at].filename}", out.getvalue())


@changes("ZIP1002")
def _of_one_machine(draw: st.DrawFn, members: Members) -> str:
    home = draw(st.sampled_from(["/home/{}/", "/Users/{}/", "C:\\Users\\"])).format(draw(_words))
    put_member(members, "more.txt", f"made in {home}".encode())
    return home


@changes("ZIP1003")
def _no_start(draw: st.DrawFn, members: Members) -> str:
    data = members[START].data
    ways = {
        "no #!": (data.removeprefix(b"#!"), True),
        "line ends of Windows": (data.replace(b"\n", b"\r\n"), True),
        "not executable": (data, False),
        "a handler that hides": (data + b"\ntrap 'echo failed; exit' ERR\n", True),
    }
    way = draw(st.sampled_from(sorted(ways)))
    put_member(members, START, ways[way][0], executable=ways[way][1])
    return way


@changes("ZIP1004")
def _secret(draw: st.DrawFn, members: Members) -> str:
    signs = [
        r"-----BEGIN (RSA |EC |OPENSSH )?PRIVATE KEY-----",
        r"AKIA[0-9A-Z]{16}",
        r"gh[pousr]_[A-Za-z0-9]{36}",
        r"hf_[A-Za-z]{34}",
        r"https://[a-z]{1,9}:[a-z0-9]{1,9}@[a-z]{1,9}\.org",
    ]
    sign = draw(st.sampled_from(signs).flatmap(lambda one: st.from_regex(one, fullmatch=True)))
    put_member(members, f"{draw(_words)}.txt", f"x = '{sign.strip()}'\n".encode("ascii", "replace"))
    return sign


@changes("ZIP1004")
def _secret_name(draw: st.DrawFn, members: Members) -> str:
    name = draw(
        st.sampled_from([".env", ".netrc", "x/id_rsa", "id_ed25519", "key.pem", "a/b.p12", ".aws/credentials"])
    )
    put_member(members, name, b"")
    return name


@changes("ZIP1004")
def _place(draw: st.DrawFn, members: Members) -> str:
    exif = Pillow.Exif()
    exif.get_ifd(GPS)[1] = "N"
    exif.get_ifd(GPS)[2] = (float(draw(st.integers(0, 89))), 0.0, 0.0)
    data = pictures.saved(pictures.drawing(40, 40, 1), "jpeg", exif=exif)
    put_member(members, f"{draw(_words)}.jpg", data)
    return "where a photograph was taken"


@changes("ZIP1006")
def _no_wheels(draw: st.DrawFn, members: Members) -> str:
    name = f"wheels/{draw(_words)}-1-py3-none-any.whl"
    put_member(members, name, draw(st.binary(max_size=9)))
    return name


@breaks("ZIP1007")
@st.composite
def _not_rehearsed(draw: st.DrawFn) -> Broken:
    case = _broken("ZIP1007", "no rehearsal", zipped(dict(bundled())))
    found = draw(st.sampled_from([None, b"", b"{", b"[]", b'{"problems": ["the loss is NaN"]}']))
    rest = {} if found is None else {"rehearsal.json": found}
    return Broken(code=case.code, what=str(found), files={ZIP: case.files[ZIP], **rest}, paths=(ZIP,))


def _locks(members: Members) -> list[str]:
    return sorted(name for name in members if "requirements" in name and name.endswith(".txt"))


@changes("ENV901")
def _loose(draw: st.DrawFn, members: Members) -> str:
    name = draw(st.sampled_from(_locks(members)))
    line = draw(st.sampled_from(["tensorflow>=2", "tensorflow", "tensorflow==2.21.0", "-e ."]))
    put_member(members, name, f"{line}\n".encode())
    return f"{name}: {line}"


@changes("ENV901")
def _no_lock(_draw: st.DrawFn, members: Members) -> str:
    for name in _locks(members):
        del members[name]
    return "no lock"


@changes("ENV902")
def _not_there(draw: st.DrawFn, members: Members) -> str:
    name = draw(st.sampled_from(["object_detection-0.1.tar.gz", "slim-0.1.tar.gz"]))
    if draw(st.booleans()):
        del members[name]
        return f"no {name}"
    data = members[name].data
    put_member(members, name, data[: draw(st.integers(0, len(data) // 2))])
    return f"{name} cut"


@changes("ENV903")
def _not_stated(_draw: st.DrawFn, members: Members) -> str:
    name = next(name for name in members if name.endswith("requirements/rows.json"))
    del members[name]
    return f"no {name}"
