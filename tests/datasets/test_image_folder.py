import numpy as np
import pytest
from PIL import Image

from qdgs.datasets.image_folder import Squares, image_files, read_square
from qdgs.errors import CorruptFileError, InputError


def picture(path, color, size=(8, 8), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(options.pop("mode", "RGB"), size, color).save(path, **options)
    return path


def test_images_are_found_in_any_layout_and_hidden_ones_are_not(tmp_path):
    names = ["a/b/1.JPG", "2.png", "with space & <b>/3.webp", "שלום/😀.bmp"]
    for name in [*names, ".hidden.png", ".cache/4.png"]:
        picture(tmp_path / name, "red", format="PNG")
    (tmp_path / "notes.txt").write_text("no image")
    assert {path.relative_to(tmp_path).as_posix() for path in image_files(tmp_path)} == set(names)


@pytest.mark.parametrize("name", ["none", "file.txt", "empty"])
def test_a_folder_without_images_is_one_sentence(tmp_path, name):
    (tmp_path / "file.txt").write_text("")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=f"{name}: expected"):
        image_files(tmp_path / name)


def test_the_middle_square_is_taken_upright_and_on_white(tmp_path):
    wide = Image.new("RGB", (16, 8), "black")
    wide.paste("white", (4, 0, 12, 8))
    wide.save(tmp_path / "wide.png")
    assert (read_square(tmp_path / "wide.png", 4) == 255).all()
    clear = picture(tmp_path / "clear.png", (0, 0, 0, 0), mode="RGBA")
    assert (read_square(clear, 4) == 255).all()
    turned = Image.new("RGB", (8, 8), "black")
    turned.paste("white", (0, 0, 8, 4))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise by a quarter: what is on top goes to the right
    turned.save(tmp_path / "turned.png", exif=exif)
    columns = read_square(tmp_path / "turned.png", 8)[0].numpy().mean(axis=0)
    assert np.array_equal(columns, [0, 0, 0, 0, 255, 255, 255, 255])


def test_damaged_files_are_noted_and_left_out(tmp_path):
    files = [picture(tmp_path / f"{number}.png", (10 * number,) * 3) for number in range(5)]
    files[2].write_bytes(b"no image")
    squares = Squares(files, 4, batch_size=2)
    batches = list(squares)
    assert [len(batch) for batch in batches] == [2, 1, 1]
    assert [round(float(image.mean()) * 255) for batch in batches for image in batch] == [0, 10, 30, 40]
    assert squares.damaged == [files[2]]
    with pytest.raises(CorruptFileError, match="missing or damaged"):
        read_square(files[2], 4)
