"""stable-baselines3 models as files: plain arrays, and a card from which a known network is built; no pickles.

A policy is a checkpoint too: the optimisers' moments and the counters of the training are in the same file.
"""

import dataclasses
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agents.policy import SB3_FORMAT
from agents.sb3.policy import SB3Policy, recipe
from memenv.archives import Entry, Header, check_card, load_archive, load_card, save_archive
from memenv.devices.gate import Gate, to_choose
from memenv.devices.records import to_json
from memenv.envs.write_verify.task import WriteVerify
from memenv.files import named, parse_json

WHAT = "policy of stable-baselines3 that memenv saved"
LAYOUT = ("history", "action", "levels", "give_up", "rounds")  # what a policy's observations and actions look like
HEAD = {  # what it was trained for
    "format": str,
    "algorithm": str,
    "tolerance": float,
    "history": int,
    "action": str,
    "levels": list,
    "give_up": bool,
    "rounds": int,
    "devices": list,
}
CARD = HEAD | {"network": dict, "progress": dict}
MOST = {"history": 1000, "rounds": 1000, "levels": 100}  # that are not taken for an error, so that a network is small
UNITS, LAYERS = 1000, 8
ACTIVATIONS: dict[str, Any] = {"ReLU": torch.nn.ReLU, "Tanh": torch.nn.Tanh}
PROGRESS = {"steps": "num_timesteps", "updates": "_n_updates", "calls": "_n_calls"}  # of training; calls: DQN alone
ENTROPIC = ("sac", "tqc")  # have an actor, a critic, and a temperature that is learned
ENTROPY, ENTROPY_OPTIMISER = "log_ent_coef", "ent_coef_optimizer"
STEP, MOMENTS = "step", ("exp_avg", "exp_avg_sq")  # of Adam: a number and arrays like the parameter


def head_of(algorithm: str, task: WriteVerify) -> dict[str, Any]:
    """The part of a card that says what a model was trained for."""
    devices = [
        {"name": device.name} if device.record is None else parse_json(to_json(device.record))
        for device in task.device.devices or (task.device,)
    ]
    layout = {name: getattr(task, name) for name in LAYOUT}
    return {"format": SB3_FORMAT, "algorithm": algorithm, "tolerance": task.tolerance, **layout, "devices": devices}


def save_model(path: Path, model: Any, head: Mapping[str, Any]) -> None:
    """Write a model and what it was trained for, whole or not at all."""
    network, head = model.policy, {**head, "format": SB3_FORMAT}
    settings = {"net_arch": _units(network.net_arch), "activation_fn": network.activation_fn.__name__}
    if head["algorithm"] == "recurrent_ppo":
        settings["lstm_hidden_size"] = network.lstm_actor.hidden_size
    progress = {name: vars(model)[own] for name, own in PROGRESS.items() if own in vars(model)}
    arrays = {f"policy/{name}": tensor.numpy() for name, tensor in network.state_dict().items()}
    if head["algorithm"] in ENTROPIC:
        arrays[ENTROPY] = model.log_ent_coef.detach().numpy()
    for name, optimiser in _all_optimisers(head["algorithm"], model).items():
        for number, moments in optimiser.state_dict()["state"].items():
            arrays |= {f"{name}/{number}/{key}": tensor.numpy() for key, tensor in moments.items()}
    save_archive(path, {**head, "network": settings, "progress": progress}, arrays)


def load_sb3(path: Path, task: WriteVerify) -> SB3Policy:
    """A model that `save_model` wrote, for a task.

    Raises:
        ValueError: a missing or damaged file, or a task of another observation or action layout.

    Warns:
        UserWarning: the task's device or tolerance was not part of the training.
    """
    card = load_card(path, WHAT)
    with named(path, WHAT):
        check_head(card, CARD)
        layout = {name: card[name] for name in LAYOUT} | {"levels": tuple(card["levels"])}
        own = dataclasses.replace(task, **layout)
        gates = [Gate(**device["gate"]) for device in card["devices"] if device.get("gate")]
        driven = card["action"] == "continuous" and any(map(to_choose, gates))
    if card["rounds"] > 1 >= task.rounds:
        raise ValueError(f"{path}: trained with rounds > 1; the task has rounds={task.rounds}")
    own.check_gate(str(path), driven)
    with named(path, WHAT):
        network = _network(card["algorithm"], card["network"], own)
    _, arrays = load_archive(path, WHAT, lambda _, headers: _entries(card["algorithm"], network, headers))
    _take(network, arrays)
    for device in head_of(card["algorithm"], task)["devices"]:
        if device not in card["devices"]:
            names = ", ".join(other["name"] for other in card["devices"])
            warnings.warn(f"{path} was trained on {names}, not on this {device['name']}: train it there", stacklevel=2)
    if not 0.5 <= task.tolerance / card["tolerance"] <= 2.0:
        warnings.warn(
            f"{path} was trained at tolerance {card['tolerance']}, the task has {task.tolerance}", stacklevel=2
        )
    return SB3Policy(card["algorithm"], network, task, own)


def resume_model(path: Path, model: Any, algorithm: str) -> None:
    """Take up the training of a new `model` where the one that `save_model` wrote was.

    Raises:
        ValueError: a missing or damaged file, or one of another model.
    """
    card, arrays = load_archive(path, WHAT, lambda _, headers: _entries(algorithm, model.policy, headers))
    with named(path, WHAT):
        check_head(card, CARD)
        counters = {name: own for name, own in PROGRESS.items() if own in vars(model)}
        check_card(card["progress"], dict.fromkeys(counters, int))
        if card["algorithm"] != algorithm or min(card["progress"].values()) < 0:
            raise ValueError(f"it is of {card['algorithm']} after {card['progress']}, one of {algorithm} is needed")
        for name, optimiser in _all_optimisers(algorithm, model).items():
            _resume_optimiser(name, optimiser, arrays)
    _take(model.policy, arrays)
    for name, own in counters.items():
        setattr(model, own, card["progress"][name])
    if algorithm in ENTROPIC:
        model.log_ent_coef.data.copy_(torch.from_numpy(arrays[ENTROPY]))


def _units(net_arch: Any) -> list[int]:
    """The layers of a network, alike for actor and critic, as stable-baselines3's defaults are.

    Raises:
        ValueError: they are not.
    """
    alike = [*net_arch.values()] if isinstance(net_arch, dict) else [net_arch]
    if any(units != alike[0] for units in alike):
        raise ValueError(f"its net_arch is {net_arch}: one list of layers for actor and critic is needed")
    return list(alike[0])


def check_head(card: Mapping[str, Any], kinds: Mapping[str, type]) -> None:
    """Refuse what no policy says of itself.

    Raises:
        ValueError: naming what is wrong.
    """
    if card.get("format") != SB3_FORMAT:
        raise ValueError(f"its format is {card.get('format')!r}, {SB3_FORMAT!r} is needed: train it anew")
    check_card(card, kinds)
    recipe(card["algorithm"])
    for name, most in MOST.items():
        for number in np.atleast_1d(card[name]).tolist():
            if type(number) is not int or not 1 <= number <= most:
                raise ValueError(f"{name} is {card[name]!r} in its card, whole numbers of 1 to {most} are needed")
    if not 0 < card["tolerance"] <= 1:
        raise ValueError(f"tolerance is {card['tolerance']!r} in its card, a part of the range is needed")
    if not all(isinstance(device, dict) and isinstance(device.get("name"), str) for device in card["devices"]):
        raise ValueError("devices in its card are not records with a name each")


def _network(algorithm: str, settings: Mapping[str, Any], own: WriteVerify) -> Any:
    """An untrained network of an algorithm's class; nothing in the settings names more than numbers and an activation.

    Raises:
        ValueError: settings that are not such.
    """
    kinds: dict[str, Any] = {"net_arch": list, "activation_fn": str}
    check_card(settings, kinds | ({"lstm_hidden_size": int} if algorithm == "recurrent_ppo" else {}))
    units = [*settings["net_arch"], settings.get("lstm_hidden_size", 1)]
    if len(units) > LAYERS or not all(type(number) is int and 1 <= number <= UNITS for number in units):
        raise ValueError(f"its network has the units {units}, up to {LAYERS} whole numbers of 1 to {UNITS} are needed")
    if settings["activation_fn"] not in ACTIVATIONS:
        raise ValueError(f"activation_fn is {settings['activation_fn']!r}, known are {', '.join(ACTIVATIONS)}")
    chosen = recipe(algorithm)
    kind: Any = chosen.model.policy_aliases[chosen.policy]
    known = {**settings, "activation_fn": ACTIVATIONS[settings["activation_fn"]]}
    with torch.random.fork_rng(devices=[]):  # its first weights are none of the program's random numbers
        return kind(own.observation_space, own.action_space, lambda _: 0.0, **known)


def _entries(algorithm: str, network: Any, headers: Mapping[str, Header]) -> dict[str, Entry]:
    """The arrays of a network, and those of its training that are there: before the first step there are no moments."""
    entries = {
        f"policy/{name}": Entry(tuple(tensor.shape), (f"f{tensor.element_size()}",), most=1e6)
        for name, tensor in network.state_dict().items()
    }
    shapes = {
        name: [tuple(p.shape) for group in optimiser.param_groups for p in group["params"]]
        for name, optimiser in _optimisers(algorithm, network).items()
    }
    if algorithm in ENTROPIC:
        entries[ENTROPY] = Entry((1,), ("f4",), most=1e6)
        shapes[ENTROPY_OPTIMISER] = [(1,)]
    for name, parameters in shapes.items():
        for number, shape in enumerate(parameters):
            if f"{name}/{number}/{STEP}" in headers:
                entries[f"{name}/{number}/{STEP}"] = Entry((), ("f4",))
                entries |= {f"{name}/{number}/{key}": Entry(shape, ("f4",)) for key in MOMENTS}
    return entries


def _optimisers(algorithm: str, network: Any) -> dict[str, torch.optim.Optimizer]:
    """The optimisers of a network, as stable-baselines3 names them."""
    if algorithm in ENTROPIC:
        return {"actor.optimizer": network.actor.optimizer, "critic.optimizer": network.critic.optimizer}
    return {"policy.optimizer": network.optimizer}


def _all_optimisers(algorithm: str, model: Any) -> dict[str, torch.optim.Optimizer]:
    """Those of the network, and that of the temperature, which is outside of it."""
    more = {ENTROPY_OPTIMISER: model.ent_coef_optimizer} if algorithm in ENTROPIC else {}
    return _optimisers(algorithm, model.policy) | more


def _take(network: Any, arrays: Mapping[str, np.ndarray]) -> None:
    """Give a network the weights of a file."""
    network.load_state_dict({name: torch.from_numpy(arrays[f"policy/{name}"]) for name in network.state_dict()})


def _resume_optimiser(name: str, optimiser: torch.optim.Optimizer, arrays: Mapping[str, np.ndarray]) -> None:
    """Give an optimiser the moments of a file.

    Raises:
        ValueError: moments that no training has.
    """
    empty = optimiser.state_dict()
    numbers = [number for group in empty["param_groups"] for number in group["params"]]
    there = [number for number in numbers if f"{name}/{number}/{STEP}" in arrays]
    state = {n: {key: torch.from_numpy(arrays[f"{name}/{n}/{key}"]) for key in (STEP, *MOMENTS)} for n in there}
    if any((moments[key] < 0).any() for moments in state.values() for key in (STEP, MOMENTS[1])):
        raise ValueError(f"{name} has steps or squares below zero")
    optimiser.load_state_dict({"state": state, "param_groups": empty["param_groups"]})
