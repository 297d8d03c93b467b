"""Sine waves from ten points, as the command learns them."""

from memenv.__main__ import main


def test_ten_points_of_a_wave_lower_the_error_on_the_rest_of_it_on_numbers_and_on_a_chip(tmp_path, capsys):
    words = ["sines", "--device", "ideal", "--steps", "60", "--aware", "1", "--waves", "20", "--out", str(tmp_path)]
    assert main(words) == 0
    text = (tmp_path / "sines.md").read_text()
    assert text in capsys.readouterr().out and text.startswith("`memenv sines --device ideal")
    rows = [line.split("|")[1:-1] for line in text.splitlines()[4:]]
    before, after = ([float(row[k].split("±")[0]) for row in rows] for k in (1, 2))
    assert [row[0].strip() for row in rows] == ["numbers", "ideal"] and "–" in rows[0][-1]
    assert all(b > 1.2 * a for b, a in zip(before, after, strict=True))
