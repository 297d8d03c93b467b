"""Omniglot: three forms that agree, splits, and data that are missing, damaged or meant to do harm."""

import io
import os
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from memenv.few_shot.characters import Characters, Split
from metalearn.omniglot import BACKGROUND, SMALL1, Part, load_omniglot, load_part, shrink

PART = Part("images_background", (3, 4, 8))
WHERE = {3: "Greek/character01", 4: "Greek/character02", 8: "N_Ko/character01"}


@pytest.fixture(scope="module")
def paper() -> np.ndarray:
    """Drawings (3, 20, 105, 105) as published, True = paper."""
    return np.random.default_rng(5).random((3, 20, 105, 105)) > 0.1


@pytest.fixture
def folder(tmp_path: Path, paper: np.ndarray) -> Path:
    """A folder with the unpacked archive."""
    image = pytest.importorskip("PIL.Image")
    for drawings, number in zip(paper, PART.numbers, strict=True):
        place = tmp_path / PART.name / WHERE[number]
        place.mkdir(parents=True)
        for k, drawing in enumerate(drawings, start=1):
            image.fromarray(drawing).save(place / f"{number:04d}_{k:02d}.png")
    return tmp_path


def pack(folder: Path, to: Path) -> Path:
    """The unpacked archive of `folder` packed again, with files that do not belong; returns the archive."""
    with zipfile.ZipFile(to / f"{PART.name}.zip", "w") as archive:
        for file in sorted((folder / PART.name).rglob("*"), reverse=True):
            archive.write(file, file.relative_to(folder))
        archive.writestr(f"__MACOSX/{PART.name}/Greek/character01/._0003_01.png", b"no picture")
    return to / f"{PART.name}.zip"


@pytest.fixture(scope="module")
def original(published: Path) -> Split:
    return load_omniglot(published / "omniglot", "original")


def test_ink_is_one_and_areas_are_averaged() -> None:
    paper = np.ones((1, 105, 105), bool)
    paper[0, :15, 30:45] = False  # exactly 4 x 4 pixels of 28 x 28
    paper[0, 60, 60] = False  # inside of one pixel of 3.75 x 3.75
    image = shrink(paper)[0]
    assert (image[:4, 8:12] == 255).all() and image[16, 16] == round(255 / 3.75**2)
    assert image.sum(dtype=int) == 16 * 255 + round(255 / 3.75**2)


def test_ink_is_conserved(paper: np.ndarray) -> None:
    assert shrink(paper[0]).mean() / 255 == pytest.approx(1 - paper[0].mean(), abs=1e-3)


def test_archive_folder_and_arrays_agree(
    folder: Path, paper: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> None:
    zipped, arrays = tmp_path_factory.mktemp("zipped"), tmp_path_factory.mktemp("arrays")
    pack(folder, zipped)
    np.savez(arrays / f"{PART.name}.npz", images=paper)
    sets = [load_part(place, PART) for place in (folder, zipped, arrays)]
    assert all(one.names == ("0003", "0004", "0008") for one in sets)
    assert [one.alphabets for one in sets] == [("Greek", "Greek", "N_Ko")] * 2 + [("", "", "")]
    for one in sets:
        assert one.images.dtype == np.uint8
        np.testing.assert_array_equal(one.images, np.stack([shrink(drawings) for drawings in paper]))


def encoded(shape: tuple[int, int], kind: str = "bool", form: str = "PNG") -> bytes:
    """A white picture."""
    image, file = pytest.importorskip("PIL.Image"), io.BytesIO()
    image.fromarray(np.ones(shape, kind)).save(file, form)
    return file.getvalue()


def header(side: int) -> tuple[bytes, bytes]:
    """The part of a PNG that says how large it is."""
    return b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)


def png(*parts: tuple[bytes, bytes]) -> bytes:
    """A PNG of these parts."""
    form = [
        struct.pack(">I", len(part)) + kind + part + struct.pack(">I", zlib.crc32(kind + part)) for kind, part in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(form)


def write_drawing(folder: Path, content: bytes) -> None:
    (folder / PART.name / WHERE[4] / "0004_07.png").write_bytes(content)


def without_a_drawing(folder: Path) -> Path:
    place = folder / PART.name / WHERE[4] / "0004_07.png"
    place.unlink()
    return place


def with_an_empty_drawing(folder: Path) -> None:
    write_drawing(folder, b"")


def with_a_cut_drawing(folder: Path) -> None:
    file = folder / PART.name / WHERE[4] / "0004_07.png"
    file.write_bytes(file.read_bytes()[:150])


def with_a_small_drawing(folder: Path) -> None:
    write_drawing(folder, encoded((28, 28)))


def with_a_grey_drawing(folder: Path) -> None:
    write_drawing(folder, encoded((105, 105), "uint8"))


def with_a_gif_named_png(folder: Path) -> None:
    write_drawing(folder, encoded((105, 105), form="GIF"))


def with_a_postscript_named_png(folder: Path) -> None:
    """Which Pillow would hand to Ghostscript."""
    write_drawing(folder, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 105 105\n%%EndComments\n(%pipe%id) (w) file\n")


def with_a_giant_drawing(folder: Path) -> None:
    write_drawing(folder, png(header(50_000), (b"IDAT", zlib.compress(bytes(1000)))))


def with_a_second_header(folder: Path) -> None:
    write_drawing(folder, png(header(105), header(50_000), (b"IDAT", zlib.compress(bytes(1000)))))


def with_a_broken_part(folder: Path) -> None:
    write_drawing(folder, png(header(105), (b"gAMA", b""), (b"IDAT", zlib.compress(bytes(105 * 15)))))


def with_a_long_file(folder: Path) -> None:
    write_drawing(folder, encoded((105, 105)) + bytes(100_000))


def with_a_pipe(folder: Path) -> None:
    place = without_a_drawing(folder)
    os.mkfifo(place)


def with_a_link_to_a_device(folder: Path) -> None:
    without_a_drawing(folder).symlink_to("/dev/zero")


def with_a_folder_for_a_drawing(folder: Path) -> None:
    without_a_drawing(folder).mkdir()


def with_a_character_twice(folder: Path) -> None:
    place = folder / PART.name / "N_Ko/character07"
    place.mkdir()
    (place / "0004_07.png").write_bytes(encoded((105, 105)))


def with_a_character_in_two_places(folder: Path) -> None:
    place = folder / PART.name / "N_Ko/character07"
    place.mkdir()
    without_a_drawing(folder)
    (place / "0004_07.png").write_bytes(encoded((105, 105)))


def with_a_foreign_character(folder: Path) -> None:
    (folder / PART.name / WHERE[4] / "0005_01.png").write_bytes(encoded((105, 105)))


def with_a_21st_drawing(folder: Path) -> None:
    (folder / PART.name / WHERE[4] / "0004_21.png").write_bytes(encoded((105, 105)))


def empty(folder: Path) -> None:
    for file in (folder / PART.name).rglob("*.png"):
        file.unlink()


def with_a_file_for_the_folder(folder: Path) -> None:
    (folder / PART.name).rename(folder / "away")
    (folder / PART.name).write_bytes(b"")


def with_a_pipe_for_the_archive(folder: Path) -> None:
    os.mkfifo(folder / f"{PART.name}.zip")


def with_a_cut_archive(folder: Path) -> None:
    archive = pack(folder, folder)
    archive.write_bytes(archive.read_bytes()[:5000])


def with_a_flipped_byte(folder: Path) -> None:
    archive = pack(folder, folder)
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 255
    archive.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without_a_drawing, "59 drawings of 3 characters instead of 3 characters with 20 drawings each"),
        (with_an_empty_drawing, "0004_07.png': not a PNG file"),
        (with_a_cut_drawing, "truncated"),
        (with_a_small_drawing, "0004_07.png': 28 x 28 pixels of mode 1 instead of 105 x 105 pixels of mode 1"),
        (with_a_grey_drawing, "0004_07.png': 105 x 105 pixels of mode L instead"),
        (with_a_gif_named_png, "0004_07.png': not a PNG file"),
        (with_a_postscript_named_png, "0004_07.png': not a PNG file"),
        (with_a_giant_drawing, "0004_07.png': 50000 x 50000 pixels"),
        (with_a_second_header, "0004_07.png': 50000 x 50000 pixels"),
        (with_a_broken_part, "0004_07.png': "),
        (with_a_long_file, r"0004_07.png' has 1\d\d,\d{3} bytes, allowed are 65,536"),
        (with_a_pipe, "0004_07.png' is no regular file"),
        (with_a_link_to_a_device, "0004_07.png' is no regular file"),
        (with_a_folder_for_a_drawing, "0004_07.png' is no regular file"),
        (with_a_character_twice, r"0004_07.png' and '.*0004_07.png' are the same drawing, remove one"),
        (with_a_character_in_two_places, "character 0004 is in '.*/character0.' and in '.*/character0.', remove one"),
        (with_a_foreign_character, "0005_01.png' is no drawing of images_background, remove it"),
        (with_a_21st_drawing, "0004_21.png' is no drawing of images_background, remove it"),
        (empty, "0 drawings of 0 characters"),
        (with_a_file_for_the_folder, "it is no folder"),
        (with_a_pipe_for_the_archive, "it is no regular file"),
        (with_a_cut_archive, "not a zip file"),
        (with_a_flipped_byte, "CRC"),
    ],
)
def test_damaged_drawings_are_refused_with_advice(folder: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(folder)
    with pytest.raises(ValueError, match=rf"images_background.* is damaged or incomplete \(.*{message}") as error:
        load_part(folder, PART)
    assert "Download images_background.zip from https://github.com/brendenlake/omniglot" in str(error.value)
    assert str(error.value).endswith(f"(folder python) into {folder}")


def test_a_drawing_may_be_a_link_to_a_store_elsewhere(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    expected = load_part(folder, PART).images
    place = folder / PART.name / WHERE[4] / "0004_07.png"
    place.symlink_to(place.rename(tmp_path_factory.mktemp("store") / "content"))
    np.testing.assert_array_equal(load_part(folder, PART).images, expected)


@pytest.mark.parametrize(
    ("name", "content", "method", "message"),
    [
        ("Greek/character02/0004_07.png", None, zipfile.ZIP_STORED, "0004_07.png' and '.*0004_07.png' are the same"),
        ("../Greek/character02/0004_07.png", None, zipfile.ZIP_STORED, "'../Greek/.*leads out of the archive"),
        ("/Greek/character02/0004_07.png", None, zipfile.ZIP_STORED, "'/Greek/.*leads out of the archive"),
        (
            "Greek/character02/0004_08.png",
            bytes(3 * 10**7),
            zipfile.ZIP_DEFLATED,
            "30,000,000 bytes, allowed are 65,536",
        ),
        ("Greek/character02/0004_08.png", bytes(10**6), zipfile.ZIP_LZMA, "packed by method 14, allowed is deflate"),
    ],
)
def test_an_archive_that_means_harm_is_refused(
    tmp_path: Path, name: str, content: bytes | None, method: int, message: str
) -> None:
    with zipfile.ZipFile(tmp_path / f"{PART.name}.zip", "w") as archive:
        archive.writestr("Greek/character02/0004_07.png", encoded((105, 105)))
        if name in archive.namelist():
            with pytest.warns(UserWarning, match="Duplicate name"):
                archive.writestr(name, content or encoded((105, 105)))
        else:
            archive.writestr(name, content or encoded((105, 105)), method)
    tracemalloc.start()
    with pytest.raises(ValueError, match=rf"images_background.zip is damaged .*{message}.* Download"):
        load_part(tmp_path, PART)
    assert tracemalloc.get_traced_memory()[1] < 10**7
    tracemalloc.stop()


def test_a_member_larger_than_it_says_is_not_unpacked_further(tmp_path: Path) -> None:
    path = tmp_path / f"{PART.name}.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("Greek/character02/0004_07.png", bytes(3 * 10**7))
    path.write_bytes(path.read_bytes().replace(struct.pack("<I", 3 * 10**7), struct.pack("<I", 200)))
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"images_background.zip is damaged"):
        load_part(tmp_path, PART)
    assert tracemalloc.get_traced_memory()[1] < 10**7
    tracemalloc.stop()


def test_an_encrypted_archive_says_so(folder: Path, tmp_path: Path) -> None:
    path = pack(folder, tmp_path)
    content = bytearray(path.read_bytes())
    for mark, flags in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        place = -1
        while (place := content.find(mark, place + 1)) >= 0:
            content[place + flags] |= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"images_background.zip is damaged or incomplete .*encrypted.* Download"):
        load_part(tmp_path, PART)


@pytest.mark.parametrize("form", [".zip", "", ".npz"])
def test_damage_anywhere_ends_in_advice_or_in_the_same_number_of_drawings(
    folder: Path, paper: np.ndarray, tmp_path_factory: pytest.TempPathFactory, form: str
) -> None:
    whole, place = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("hurt")
    np.savez_compressed(whole / f"{PART.name}.npz", images=np.ones_like(paper))
    pack(folder, whole)
    hurt, target = place / f"{PART.name}{form}", whole / f"{PART.name}{form}"
    if not form:
        (folder / PART.name).rename(hurt)
        hurt = target = hurt / WHERE[4] / "0004_07.png"
    content, draw = target.read_bytes(), np.random.default_rng(7)
    for _ in range(60):
        other = bytearray(content)
        for at in draw.integers(len(content), size=draw.integers(1, 4)):
            other[at] = draw.integers(256)
        tail = int(draw.integers(1, 400))  # where archives have their directories
        other[-tail] = draw.integers(256) if tail <= len(other) else other[-1]
        hurt.write_bytes(other)
        try:
            assert load_part(place, PART).images.shape == (3, 20, 28, 28)
        except ValueError as error:
            assert "is damaged or incomplete" in str(error) and "Download" in str(error)


@pytest.mark.parametrize("shape", ["(3, 20, 105, 10500000)", "(99999999999999999999,)", "(3, 20, 105, 105)"])
def test_arrays_with_less_than_they_promise_are_refused(tmp_path: Path, shape: str) -> None:
    text = f"{{'descr': '|b1', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    with zipfile.ZipFile(tmp_path / f"{PART.name}.npz", "w") as archive:
        archive.writestr("images.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(1000))
    with pytest.raises(ValueError, match=r"images_background.npz is damaged or incomplete"):
        load_part(tmp_path, PART)


def test_arrays_too_large_are_not_unpacked(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / f"{PART.name}.npz", images=np.zeros(3 * 10**7, bool))
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"images has the shape \(30000000,\), \(3, 20, 105, 105\) is needed"):
        load_part(tmp_path, PART)
    assert tracemalloc.get_traced_memory()[1] < 10**7
    tracemalloc.stop()


@pytest.mark.parametrize(
    "arrays",
    [
        {"labels": np.zeros(3)},
        {"images": np.zeros((3, 20, 105, 105), np.uint8)},
        {"images": np.zeros((2, 20, 9, 9), bool)},
    ],
)
def test_foreign_arrays_are_refused(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    np.savez(tmp_path / f"{PART.name}.npz", **arrays)
    with pytest.raises(ValueError, match="damaged or incomplete"):
        load_part(tmp_path, PART)


def test_missing_data_are_named_with_advice(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no images_background.zip, .*Download images_background.zip from"):
        load_omniglot(tmp_path)


def test_a_folder_must_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEMENV_OMNIGLOT", raising=False)
    with pytest.raises(ValueError, match="pass one or name it in MEMENV_OMNIGLOT"):
        load_omniglot()


def test_the_environment_names_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MEMENV_OMNIGLOT", str(tmp_path / "here"))
    with pytest.raises(ValueError, match="here has no images_background"):
        load_omniglot()


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(ValueError, match="random, original, small1; got 'vinyals'"):
        load_omniglot("anywhere", "vinyals")


def test_the_original_split_has_964_and_659_characters(original: Split) -> None:
    assert original.train.names == tuple(f"{k:04d}" for k in range(1, 965))
    assert original.test.names == tuple(f"{k:04d}" for k in range(965, 1624))
    assert original.train.images.shape == (964, 20, 28, 28)
    assert 0.07 < original.train.images.mean() / 255 < 0.09  # ink, not paper


def test_the_random_split_is_always_the_same_1200_and_423(original: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    def loaded(folder: Path, part: Part) -> Characters:
        return original.train if part is BACKGROUND else original.test

    monkeypatch.setattr("metalearn.omniglot.load_part", loaded)
    split = load_omniglot("anywhere")
    assert (len(split.train), len(split.test)) == (1200, 423)
    assert {*split.train.names} | {*split.test.names} == {*original.train.names, *original.test.names}
    assert split.train.names[:4] == ("1398", "0061", "1486", "1166")
    np.testing.assert_array_equal(split.train.images[1], original.train.images[60])


def test_an_official_archive_has_the_drawings_of_the_arrays(original: Split, published: Path) -> None:
    pytest.importorskip("PIL")
    small = load_part(published / "omniglot", SMALL1)
    assert len(small) == 136
    assert sorted({*small.alphabets}) == ["Balinese", "Early_Aramaic", "Greek", "Korean", "Latin"]
    np.testing.assert_array_equal(small.images, original.train.images[[int(name) - 1 for name in small.names]])
