"""Omniglot: three forms that agree, splits, and data that are missing or damaged."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from memenv.fewshot.characters import Characters, Split
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


def without_a_drawing(folder: Path) -> None:
    (folder / PART.name / WHERE[4] / "0004_07.png").unlink()


def with_an_empty_drawing(folder: Path) -> None:
    (folder / PART.name / WHERE[4] / "0004_07.png").write_bytes(b"")


def with_a_cut_drawing(folder: Path) -> None:
    file = folder / PART.name / WHERE[4] / "0004_07.png"
    file.write_bytes(file.read_bytes()[:150])


def with_a_small_drawing(folder: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    image.fromarray(np.ones((28, 28), bool)).save(folder / PART.name / WHERE[4] / "0004_07.png")


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
        (with_an_empty_drawing, "cannot identify image"),
        (with_a_cut_drawing, "truncated"),
        (with_a_small_drawing, r"0004_07.png has the shape \(28, 28\)"),
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
