"""`memenv devices`: the list, a record that can be loaded again, a picture, and one clear line for what cannot be."""

import subprocess
import sys

import numpy as np
import pytest

import memenv
from memenv import Device, Response, from_json, load_device, to_json
from memenv.__main__ import main
from memenv.devices.catalogue import physics_models
from memenv.devices.command import pulses_across, response_curve, step_noise
from memenv.devices.neurosim import label


def test_the_list_has_a_line_for_every_preset(capsys):
    assert main(["devices"]) == 0
    first_words = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert set(memenv.presets()) <= set(first_words)
    assert first_words[0] == "device"


def test_the_list_states_range_nonlinearity_noise_and_source(capsys):
    main(["devices", "list"])
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("ag-asi"))
    words = line.split()
    low, high = words[1].split("-")
    assert (float(low), float(high)) == pytest.approx((1e6 / 26e6 / 12.5, 1e6 / 26e6), rel=1e-2)
    assert words[4:6] == ["3.50%", "0.20%"] and "Jerry" in line


@pytest.mark.parametrize("name", memenv.presets())
def test_a_record_shown_as_json_loads_as_the_same_device(name, capsys):
    assert main(["devices", "show", name, "--json"]) == 0
    assert from_json(capsys.readouterr().out) == load_device(name)


def test_a_file_is_taken_wherever_a_name_is(tmp_path, capsys):
    path = tmp_path / "mine.json"
    path.write_text(to_json(load_device("fefet").replace(name="mine")))
    assert main(["devices", "show", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "mine" in shown and "1.789e-06 S" in shown and "amplitude=3.65" in shown


@pytest.mark.parametrize("name", physics_models())
def test_a_device_of_other_equations_shows_what_it_can(name, capsys):
    assert main(["devices", name]) == 0
    shown = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert (
        shown["name"] == name and "set_max=" in shown["driver"] and " S" in shown["range"] and len(shown["source"]) > 50
    )
    assert shown["record"].startswith("none: controllers that know the law")
    for words in (["plot", name], ["show", name, "--json"]):
        assert main(["devices", *words]) == 2
        assert "needs a parametric device" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["show", "perovskite"], "memenv devices: unknown device 'perovskite'; presets: ideal, "),
        (["show", "gone.json"], "memenv devices: cannot read the device file gone.json: "),
        (["show", "gone.npz"], "memenv devices: gone.npz is no table of measured devices: there is no such file"),
        (["show"], "memenv devices: devices show needs a device: one of ideal, "),
        (["plot"], "memenv devices: devices plot needs a device: one of ideal, "),
    ],
)
def test_a_device_that_cannot_be_shown_exits_2_with_one_clear_line(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["devices", *arguments]) == 2
    out, error = capsys.readouterr()
    assert out == "" and error.startswith(message) and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_the_command_prints_no_traceback():
    done = subprocess.run(
        [sys.executable, "-m", "memenv", "devices", "show", "nonsense"], capture_output=True, text=True
    )
    assert done.returncode == 2 and done.stdout == ""
    assert "Traceback" not in done.stderr and done.stderr.startswith("memenv devices: unknown device 'nonsense'")


@pytest.mark.parametrize("arguments, code", [([], 2), (["--help"], 0), (["frobnicate"], 2)])
def test_without_a_known_command_the_usage_is_printed(arguments, code, capsys):
    assert main(arguments) == code
    out, error = capsys.readouterr()
    assert "usage: memenv COMMAND" in (error if code else out)
    assert all(command in out + error for command in ("compare", "tune", "devices", "fit"))
    assert ("unknown command 'frobnicate'" in error) == (arguments == ["frobnicate"])


def test_a_device_alone_is_shown_and_another_word_before_it_refused(capsys):
    assert main(["devices", "pcm"]) == 0
    alone = capsys.readouterr().out
    assert main(["devices", "show", "pcm"]) == 0 and capsys.readouterr().out == alone
    assert main(["devices", "paint", "ideal"]) == 2
    assert "the action is 'paint', allowed are list, show and plot" in capsys.readouterr().err


def test_options_that_do_not_exist_exit_2(capsys):
    with pytest.raises(SystemExit) as exit_of:
        main(["devices", "show", "ideal", "--jason"])
    assert exit_of.value.code == 2
    assert "see memenv devices --help" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["threshold", "fefet", "pcm"])
def test_plot_writes_a_picture_and_prints_its_path(name, tmp_path, capsys, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    assert main(["devices", "plot", name]) == 0
    assert capsys.readouterr().out == f"{name}.png\n"
    assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_plot_leaves_no_file_of_a_format_that_does_not_exist(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    assert main(["devices", "plot", "ideal", "--out", str(tmp_path / "new" / "ideal.pxg")]) == 2
    assert "pxg" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_cycle_noise_in_the_list_is_that_of_simulated_pulses(rng):
    cells = 20_000
    for response, start in (
        (Response(dose=0.1, gamma=0.0, cycle_noise=0.1, additive_noise=0.01), 0.5),
        (Response(dose=0.3, gamma=1.0, cycle_noise=0.1), 0.0),  # steps, and their noise, shrink on the way
    ):
        device = Device(set=response)
        state = device.fresh(np.full(cells, start), np.zeros((2, cells)))
        moved = device.pulse(state, np.full(cells, 1.0), np.full(cells, 1e-6), rng.standard_normal((3, cells)))
        assert step_noise(device) == pytest.approx(np.std(moved.x), rel=0.02)


def test_pulses_across_and_label_are_those_of_the_response():
    step = Response(dose=0.01, gamma=0.0)
    linear = Device(set=step, reset=step)
    assert pulses_across(linear, True) in (95, 96) and response_curve(linear, True, 100)[50] == pytest.approx(0.5)
    assert label(linear, "set") == pytest.approx(0.0, abs=1e-9)
    curved = Device(set=Response(dose=0.05, gamma=1.0), reset=Response(dose=0.05, gamma=1.0))
    assert label(curved, "set") > 1 and label(curved, "reset") == pytest.approx(-label(curved, "set"))
    assert pulses_across(Device(set=Response(dose=1e-9)), True) == 10_000
