"""Each rule of trainer.zip at its very border: what just breaks it and what just does not."""

import hashlib
import io
import json
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pictures
import pytest

from odbuild import archive, protos
from odbuild.errors import OdbuildError
from odbuild.rules import trainer_zip
from odbuild.rules.trainer_zip import Bundle, Member
from odbuild.trainer.findings import Finding

FILE, PROGRAM = stat.S_IFREG | 0o644, stat.S_IFREG | 0o755

Found = list[tuple[str, str, str]]
"""Message up to its first comma, place and value of each finding."""


def member(name: str, data: bytes | None = b"", mode: int = FILE, **fields: Any) -> Member:
    info = zipfile.ZipInfo(name, archive.EPOCH)
    info.create_system, info.external_attr = 3, mode << 16
    digest = fields.pop("sha256", hashlib.sha256(data or b"").hexdigest())
    for field, value in fields.items():
        setattr(info, field, value)
    return Member(info=info, sha256=digest, data=data)


def bundle(*members: Member, path: Path = Path("trainer.zip")) -> Bundle:
    return Bundle(path=path, members=members)


def told(rule: Callable[[Bundle], Iterable[Finding]], *members: Member) -> Found:
    return [(one.message, one.where, one.value) for one in rule(bundle(*members))]


def places(rule: Callable[[Bundle], Iterable[Finding]], *members: Member) -> list[str]:
    return [where for _, where, _ in told(rule, *members)]


def start(text: str = "#!/bin/sh\nset -e\n", mode: int = PROGRAM) -> Member:
    return member("a/start.sh", text.encode(), mode)


def listing(**digests: object) -> Member:
    return member("a/MANIFEST.json", json.dumps({"members": digests}).encode())


# What is in a bundle


@pytest.mark.parametrize(
    ("names", "root"),
    [
        (["start.sh", "b"], ""),
        (["a/start.sh", "b"], "a/"),
        (["a/b/start.sh"], ""),
        (["trainer/start.sh", "start.sh"], ""),
        (["long/start.sh", "a/start.sh"], "a/"),
        (["a/restart.sh", "a/start.sh.bak"], ""),
        ([], ""),
    ],
)
def test_the_folder_of_start_sh(names: list[str], root: str) -> None:
    assert bundle(*map(member, names)).root == root


def test_files_are_named_below_that_folder() -> None:
    found = bundle(member("a/"), start(), member("a/b/c", b"text"), member("d"), member("a/large", None))
    assert list(found.files) == ["start.sh", "b/c", "large"]
    assert [found.text(name) for name in ("b/c", "large", "gone")] == ["text", "", ""]
    assert bundle(member("e", b"\xff\xc3\xa9")).text("e") == "\ufffd\u00e9"


@pytest.mark.parametrize(
    ("text", "fine"),
    [
        ('{"members": {}}', True),
        ('{"members": {"x": {"sha256": ""}}}', True),
        ('{"members": {"x": {"sha256": ""}, "y": {}}}', False),
        ('{"members": {"x": 3}}', False),
        ('{"members": []}', False),
        ("{}", False),
        ("[]", False),
        ("{", False),
    ],
)
def test_a_manifest_that_says_nothing_is_none(text: str, fine: bool) -> None:  # noqa: FBT001
    assert (bundle(member("MANIFEST.json", text.encode())).manifest is not None) == fine


def test_locks_are_texts_of_requirements() -> None:
    names = (
        "requirements/a.txt",
        "requirements.txt",
        "requirements/b.json",
        "notes.txt",
        "requirements/empty.txt",
    )
    found = bundle(*(member(name, b"" if "empty" in name else b"x") for name in names))
    assert found.locks == {"requirements/a.txt": "x", "requirements.txt": "x"}


def packed(path: Path, files: Mapping[str, bytes]) -> Bundle:
    with zipfile.ZipFile(path, "w") as opened:
        for name, data in files.items():
            opened.writestr(name, data)
    return trainer_zip.read(path)


def test_small_members_are_kept_and_of_large_ones_pictures_and_packages(tmp_path: Path) -> None:
    most = 2**20
    names = {
        "a": most,
        "b": most + 1,
        "c.JPG": most + 1,
        "d.jpeg": most + 1,
        "e.tar.gz": most + 1,
        "f.tar": most + 1,
    }
    files = {name: bytes(size) for name, size in names.items()}
    found = {one.info.filename: one for one in packed(tmp_path / "x.zip", files).members}
    assert {name for name, one in found.items() if one.data is None} == {"b", "f.tar"}
    for name, one in found.items():
        assert one.sha256 == hashlib.sha256(files[name]).hexdigest()
        assert one.data in (None, files[name])


def test_a_damaged_member_has_no_digest(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    packed(path, {"a": b"content", "b": b"other"})
    path.write_bytes(path.read_bytes().replace(b"content", b"kontent"))
    damaged, sound = trainer_zip.read(path).members
    assert (damaged.sha256, damaged.data, damaged.info.filename) == ("", None, "a")
    assert sound.data == b"other"


def test_what_is_no_zip_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OdbuildError, match="cannot be read"):
        trainer_zip.read(tmp_path / "gone.zip")
    (tmp_path / "x.zip").write_bytes(b"PK")
    with pytest.raises(OdbuildError, match="is no whole zip"):
        trainer_zip.read(tmp_path / "x.zip")


# The manifest


@pytest.mark.parametrize(
    ("name", "fires"),
    [
        ("/a", True),
        ("../a", True),
        ("a/../b", True),
        ("a/..", True),
        ("a\\b", True),
        ("a..b/c...d", False),
        ("a/b", False),
    ],
)
def test_names_that_lead_out_of_the_bundle(name: str, fires: bool) -> None:  # noqa: FBT001
    found = told(trainer_zip.manifest, member(name), listing())
    unsafe = [where for message, where, _ in found if message.startswith("the name of a member")]
    shown = name.replace("\\", "\\\\")
    assert unsafe == ([f'"{shown}"'] if fires else [])


def test_names_that_stand_twice() -> None:
    found = told(trainer_zip.manifest, start(), member("a/b"), member("a/b"), member("a/c"))
    assert [where for message, where, _ in found if "stands twice" in message] == ['"a/b"', '"a/b"']


def test_members_are_those_of_the_manifest() -> None:
    old = hashlib.sha256(b"old").hexdigest()
    digests = {"start.sh": {"sha256": start().sha256}, "lost": {"sha256": old}, "changed": {"sha256": old}}
    digests |= {"same": {"sha256": old}, "damaged": {"sha256": old}}
    every = [start(), member("a/changed", b"new"), member("a/same", b"old"), member("a/extra"), listing(**digests)]
    new = hashlib.sha256(b"new").hexdigest()[:16]
    damaged = member("a/damaged", None, sha256="")
    assert told(trainer_zip.manifest, *every, damaged, member("outside")) == [
        ("a member is damaged", '"a/damaged"', ""),
        ("a member is not the one that the manifest lists", '"changed"', f"sha256 {new}..."),
        ("a member is not in the manifest", '"extra"', ""),
        ("a member that the manifest lists is missing", '"lost"', ""),
        ("a member is not in the manifest", '"outside"', ""),
    ]


def test_a_bundle_without_a_manifest() -> None:
    assert told(trainer_zip.manifest, start()) == [
        ("the bundle has no manifest that can be read", "MANIFEST.json", "")
    ]


# The same bytes in every build


def test_members_stand_in_the_order_of_their_names() -> None:
    assert not told(trainer_zip.reproducible, member("a"), member("b"))
    found = told(trainer_zip.reproducible, member("b"), member("a"))
    assert [(where, value) for _, where, value in found] == [("the order of the members", "not sorted by name")]


@pytest.mark.parametrize(
    ("fields", "value"),
    [
        ({}, ""),
        ({"mode": PROGRAM}, ""),
        ({"mode": stat.S_IFREG | 0o600}, "mode 100600"),
        ({"create_system": 0}, "mode 100644"),
        ({"date_time": (1980, 1, 1, 0, 0, 2)}, "written (1980, 1, 1, 0, 0, 2)"),
        ({"compress_type": zipfile.ZIP_DEFLATED}, "compressed"),
        (
            {"compress_type": zipfile.ZIP_DEFLATED, "create_system": 0, "date_time": (1980, 1, 1, 0, 0, 2)},
            "written (1980, 1, 1, 0, 0, 2), mode 100644, compressed",
        ),
    ],
)
def test_what_tells_two_builds_apart(fields: dict[str, Any], value: str) -> None:
    found = told(trainer_zip.reproducible, member("a", **fields))
    assert [(where, seen) for _, where, seen in found] == ([('"a"', value)] if value else [])


def test_folders_of_one_machine() -> None:
    texts = {
        b"in /home/me/x": '"/home/me/"',
        b"/Users/me-too/": '"/Users/me-too/"',
        rb"D:\Users\me": '"D:\\\\Users\\\\"',
        b"/home/": "",
        b"/homes/me/": "",
        b"/usr/lib/": "",
    }
    for text, value in texts.items():
        found = told(trainer_zip.reproducible, member("a", text), member("b", None))
        assert [(where, seen) for _, where, seen in found] == ([('"a"', value)] if value else [])


# start.sh


def test_start_sh_is_there_and_can_be_started() -> None:
    assert not told(trainer_zip.start, start())
    for lacking in (member("b"), member("a/start.sh", None, PROGRAM)):
        assert told(trainer_zip.start, lacking) == [
            ("there is no start.sh at most one folder deep", "start.sh", "")
        ]
    wrong = start("echo\r\nset -e\r\n", stat.S_IFREG | 0o611)
    assert [value for _, _, value in told(trainer_zip.start, wrong)] == [
        "it does not begin with #!",
        "it has line ends of Windows",
        "it lacks the executable bit",
    ]
    assert places(trainer_zip.start, start(" #!\nset -e")) == ["start.sh"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("set -e", ""),
        ("  set -Eeuo pipefail", ""),
        ("set -uxe", ""),
        ("python -m trainer || exit 1", ""),
        ("python -m trainer ||exit", ""),
        ("set -u", "start.sh goes on after a command that failed"),
        ("reset -e", "start.sh goes on after a command that failed"),
        ("python || exits", "start.sh goes on after a command that failed"),
        ("trap 'echo no; exit' ERR\nset -e", "start.sh succeeds when it fails"),
        ('trap "exit;" ERR', "start.sh succeeds when it fails"),
        ("trap 'exit 1' ERR\nset -e", ""),
        ("trap 'exit' EXIT\nset -e", ""),
    ],
)
def test_a_failure_ends_start_sh(line: str, message: str) -> None:
    value = "trap '...; exit' ERR" if "succeeds" in message else ""
    found = told(trainer_zip.start, start(f"#!/bin/sh\n{line}\n"))
    assert found == ([(message, "start.sh", value)] if message else [])


# Secrets


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("-----BEGIN PRIVATE KEY-----", "a private key"),
        ("-----BEGIN EC PRIVATE KEY-----", "a private key"),
        ("-----BEGIN PUBLIC KEY-----", ""),
        ("AKIA" + "A1" * 8, "an access key"),
        ("AKIA" + "A1" * 7 + "A", ""),
        ("ghp_" + "a" * 36, "a token"),
        ("ghp_" + "a" * 35, ""),
        ("github_pat_" + "a" * 22, "a token"),
        ("hf_" + "a" * 34, "a token"),
        ("xoxb-" + "1" * 20, "a token"),
        ("https://me:word@host.org", "a password in an address"),
        ("https://me:$WORD@host.org", ""),
        ("https://me@host.org", ""),
    ],
)
def test_secrets_by_their_form(text: str, what: str) -> None:
    assert [value for _, _, value in told(trainer_zip.secrets, member("notes", text.encode()))] == [what][
        : bool(what)
    ]


@pytest.mark.parametrize(
    ("name", "fires"),
    [
        (".env", True),
        ("a/.netrc", True),
        ("a/id_rsa", True),
        ("a/server.pem", True),
        ("a.key", True),
        ("a.env", False),
        ("id_rsa.pub", False),
        ("key", False),
        ("a.keys", False),
    ],
)
def test_secrets_by_their_name(name: str, fires: bool) -> None:  # noqa: FBT001
    for data in (b"", None):
        found = told(trainer_zip.secrets, member(name, data))
        assert [(where, value) for _, where, value in found] == ([(f'"{name}"', "by its name")] if fires else [])


def test_photographs_that_say_where_they_were_taken() -> None:
    from PIL import Image

    exif = Image.Exif()
    exif.get_ifd(trainer_zip.GPS)[1] = "N"
    located = pictures.encoded(pictures.drawing(), exif=exif)
    other = pictures.jpeg(orientation=6)
    sign = [("a photograph says where it was taken", '"a.jpg"', "")]
    assert told(trainer_zip.secrets, member("a.jpg", located)) == sign
    assert not told(trainer_zip.secrets, member("a.jpg", other))
    for broken in (b"\xff\xd8\xff", located[:30], b"..." + located):
        assert not told(trainer_zip.secrets, member("a.jpg", broken))


# Without network

WHEEL = hashlib.sha256(b"wheel").hexdigest()


def pin(name: str, digest: str = WHEEL, marker: str = "") -> str:
    return f"{name}==1.0{marker and f' ; {marker}'} \\\n    --hash=sha256:{digest}\n"


def offline(*members: Member, wheels: bool = True) -> Found:
    brought = [member("a/wheels/some.whl", b"wheel")] if wheels else []
    return told(trainer_zip.offline, start(), *brought, *members)


def lock(text: str, name: str = "a/requirements/x.txt") -> Member:
    return member(name, text.encode())


def test_wheels_fill_one_of_the_locks() -> None:
    other = "0" * 64
    assert not offline(lock(pin("one")))
    assert not offline(lock(pin("one", other) + pin("two", other)), lock(pin("one"), "a/requirements/y.txt"))
    assert not offline(lock(pin("one") + pin("two", other, "python_version < '3'")))
    assert not offline(lock(pin("one", other).rstrip() + f" \\\n    --hash=sha256:{WHEEL}\n"))
    two, three = lock(pin("one", other) + pin("two", other)), lock(pin("three", other), "a/requirements/y.txt")
    found = offline(two, three)
    assert [(where, value) for _, where, value in found] == [
        ("requirements/y.txt", "1 are missing, such as three==1.0")
    ]
    assert [(where, value) for _, where, value in offline(two)] == [
        ("requirements/x.txt", "2 are missing, such as one==1.0")
    ]
    assert not offline()
    assert not offline(two, wheels=False)
    assert not offline(lock(pin("one")), member("a/wheels/other.whl", b"other"))
    # What is no lock is told by another rule.
    assert not offline(lock("one>=1\n"))


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("curl -O x", "curl -O x"),
        ("  python -m pip install x", "python -m pip install x"),
        ("pip install --no-index x", ""),
        ("git  clone x", "git  clone x"),
        ("# curl x", ""),
        ("curling", ""),
        ("echo # pip install x", ""),
    ],
)
def test_start_sh_of_an_offline_bundle_downloads_nothing(line: str, shown: str) -> None:
    brought = member("a/wheels/some.whl", b"wheel")
    script = start(f"#!/bin/sh\n{line}\n")
    found = told(trainer_zip.offline, script, brought)
    assert [(where, value) for _, where, value in found] == ([("start.sh", f'"{shown}"')] if shown else [])
    assert not told(trainer_zip.offline, script)


@pytest.mark.parametrize(
    ("recipe", "fires"),
    [
        ({"checkpoint": {"url": "https://host"}}, True),
        ({"checkpoint": {"url": None}}, False),
        ({"checkpoint": None}, False),
        ({}, False),
    ],
)
def test_an_offline_bundle_embeds_its_checkpoint(recipe: dict[str, Any], fires: bool) -> None:  # noqa: FBT001
    content = json.dumps({"members": {}, "recipe": recipe}).encode()
    found = offline(member("a/MANIFEST.json", content))
    assert [(where, value) for _, where, value in found] == ([("checkpoint", '"https://host"')] if fires else [])


# Rehearsals


@pytest.mark.parametrize("above", [0, 1, 2, 3])
def test_a_rehearsal_lies_beside_the_bundle_or_two_folders_above(above: int, tmp_path: Path) -> None:
    path = tmp_path / "a/b/c/trainer.zip"
    path.parent.mkdir(parents=True)
    (path.parents[above] / "rehearsal.json").write_text('{"problems": []}')
    found = list(trainer_zip.rehearsed(bundle(path=path)))
    assert [(one.severity, one.where) for one in found] == ([("info", "trainer.zip")] if above > 2 else [])


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ('{"problems": ["one", 2]}', ["one", "2"]),
        ('{"problems": null}', ["cannot be read"]),
        ("{}", ["cannot be read"]),
        ("[]", ["cannot be read"]),
        ("{", ["cannot be read"]),
    ],
)
def test_problems_of_a_rehearsal(text: str, problems: list[str], tmp_path: Path) -> None:
    report = tmp_path / "rehearsal.json"
    report.write_text(text)
    found = list(trainer_zip.rehearsed(bundle(path=tmp_path / "trainer.zip")))
    shown = [f"{report} {problem}" if problem == "cannot be read" else problem for problem in problems]
    assert [(one.severity, one.where, one.value) for one in found] == [
        ("warning", "rehearsal.json", problem) for problem in shown
    ]


# Packages


def test_packages_are_pinned_by_hash() -> None:
    assert told(trainer_zip.locked, start()) == [("the bundle pins no packages", "requirements", "")]
    assert not told(trainer_zip.locked, start(), lock(pin("one")))
    found = told(trainer_zip.locked, start(), lock(pin("one")), lock("two>=2\n", "a/requirements/y.txt"))
    assert [(where, value) for _, where, value in found] == [
        ("requirements/y.txt", "requirements/y.txt: no exact pin with a hash: 'two>=2'")
    ]


def sdist(package: str, names: Iterable[str]) -> Member:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name in names:
            tar.addfile(tarfile.TarInfo(f"{package}-0.1/{name}"))
    return member(f"{package}-0.1.tar.gz", out.getvalue())


def test_modules_that_training_imports() -> None:
    compiled = [name.replace(".proto", "_pb2.py") for name in protos.proto_names()]
    assert len(compiled) > 20
    modules = ["object_detection/__init__.py", "object_detection/model_lib_v2.py", *compiled]
    nets = ["nets/__init__.py", "nets/mobilenet_v1.py"]
    assert not told(trainer_zip.importable, sdist("object_detection", modules), sdist("slim", nets))
    for gone in range(len(modules)):
        fewer = sdist("object_detection", [name for name in modules if name != modules[gone]])
        found = told(trainer_zip.importable, fewer, sdist("slim", nets[1 - gone % 2 :][:1]))
        assert [(where, value) for _, where, value in found] == [
            ("object_detection-0.1.tar.gz", modules[gone]),
            ("slim-0.1.tar.gz", nets[gone % 2]),
        ]


def test_packages_that_are_missing_or_damaged() -> None:
    whole = sdist("slim", ["nets/__init__.py", "nets/mobilenet_v1.py"])
    assert told(trainer_zip.importable, whole) == [
        ("a package that training imports is not in the bundle", "object_detection-0.1.tar.gz", "")
    ]
    assert whole.data is not None
    for data in (None, b"", b"text", whole.data[:40]):
        found = told(trainer_zip.importable, member("slim-0.1.tar.gz", data))
        assert [value for _, where, value in found if where.startswith("slim")] == [
            "nets/__init__.py",
            "nets/mobilenet_v1.py",
        ]


def test_the_runtime_is_stated() -> None:
    rows = member("a/trainer/requirements/rows.json")
    assert told(trainer_zip.stated, start()) == [
        ("the bundle does not state which Python and TensorFlow it is for", "rows.json", "")
    ]
    (found,) = told(trainer_zip.stated, start(), rows)
    assert found[1:] == ("start.sh", "does not call trainer.runtime")
    assert not told(trainer_zip.stated, start("python -m trainer.runtime"), rows)
