"""Plausible slips in what the protocol promises, each put into a copy of the tree: a test has to fail.

    python tests/mutants.py --jobs 2            # all of them, minutes
    python tests/mutants.py --only agents/tuning  # those of some files

The status is 1 if a fault survives, cannot be put in any more, or keeps the tests from running at all. A change to a
line that is named here takes the line along; a fault that survives asks for the test that states the fact.
"""

import argparse
import contextlib
import importlib
import io
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
TREE = ("memenv", "agents", "metalearn", "benchmarks", "tests", "pyproject.toml")
PRELOADED = ("scipy.stats", "gymnasium", "torch", "sb3_contrib", "matplotlib.figure")  # once for all
LIMIT = 600  # [s] after which a test fails

PROTOCOL = "tests/test_protocol.py"
FEW_SHOT = "tests/test_protocol_few_shot.py"
PROGRAM = "tests/test_protocol_program.py"


class Fault(NamedTuple):
    """A slip."""

    path: str  # of the file
    old: str  # part of one line, once in the file
    new: str


FAULTS: dict[str, tuple[Fault, ...]] = {  # by the test that fails then, whose name is the fact that is no longer true
    PROTOCOL + "::test_training_tuning_and_evaluation_never_see_each_others_cells": (
        Fault("agents/tuning.py", "cells, seed, purpose=TUNING)", "cells, seed)"),
        Fault("agents/evaluation.py", "mixed(purpose, seed)", "mixed(seed)"),
        Fault("agents/training.py", "EVALUATION_SEED, purpose=TUNING)", "EVALUATION_SEED)"),
        Fault("agents/training.py", "_fresh_seed(config.seed, 0)", "config.seed"),
    ),
    PROTOCOL + "::test_training_through_the_device_draws_from_seeds_of_its_own": (
        Fault("agents/evaluation.py", "default_rng((purpose, seed))", "default_rng(seed)"),
        Fault("agents/predictor/training.py", "seeded(config.seed, TRAINING)", "seeded(config.seed, 0)"),
        Fault("agents/predictor/training.py", "seeded(config.seed, TRAINING)", "seeded(config.seed, 1)"),
    ),
    PROTOCOL + "::test_a_resumed_training_goes_on_with_other_cells_and_ends_where_it_was_to_end": (
        Fault("agents/training.py", "model.set_random_seed(_fresh_seed(config.seed, model.num_timesteps))", "pass"),
    ),
    PROTOCOL + "::test_a_resumed_training_through_the_device_goes_on_with_other_noise_at_the_rate_where_it_was": (
        Fault("agents/training.py", "seed=_fresh_seed(config.seed, done),", "seed=config.seed,"),
        Fault("agents/training.py", "iterations=config.steps - done,", "iterations=config.steps,"),
        Fault("agents/training.py", "learning_rate=settings.learning_rate * float(rate),", ""),
    ),
    FEW_SHOT + "::test_agents_meet_other_chips_in_each_batch_and_for_each_purpose": (
        Fault("agents/few_shot/schedules.py", "purpose: int = EVALUATION, batch", "purpose: int = 1, batch"),
        Fault("agents/few_shot/schedules.py", "numbers, seed, purpose)", "numbers, seed, EVALUATION)"),
        Fault("agents/few_shot/schedules.py", "noise_of(task, numbers,", "noise_of(task, range(len(numbers)),"),
    ),
    FEW_SHOT + "::test_the_benchmark_tunes_agents_on_the_split_and_the_seeds_that_its_table_does_not_see": (
        Fault(
            "benchmarks/few_shot_agents.py",
            "policy.task, episodes, seed, TUNING).reward",
            "policy.task, episodes, seed, EVALUATION).reward",
        ),
        Fault("benchmarks/few_shot_agents.py", 'replace(training, split="test")', "training"),
    ),
    FEW_SHOT + "::test_every_batch_of_an_evaluation_has_chips_noise_and_tasks_of_its_own": (
        Fault(
            "metalearn/evaluation.py",
            "default_rng([seed, number, 3 * purpose + k])",
            "default_rng([seed, 3 * purpose + k])",
        ),
        Fault("metalearn/evaluation.py", "min(BATCH, episodes - number * BATCH)", "BATCH"),
    ),
    FEW_SHOT + "::test_tuning_sees_neither_chips_nor_noise_nor_tasks_of_the_evaluation": (
        Fault(
            "metalearn/evaluation.py", "default_rng([seed, number, 3 * purpose + k])", "default_rng([seed, number, k])"
        ),
        Fault("metalearn/evaluation.py", "purpose=TUNING, **options", "**options"),
    ),
    FEW_SHOT + "::test_every_batch_of_compiled_chips_has_chips_of_its_own": (
        Fault("metalearn/learners.py", "Chips(hardware, int(chip.integers(2**62)))", "Chips(hardware, 0)"),
    ),
    FEW_SHOT + "::test_pretraining_is_judged_on_characters_chips_and_noise_that_do_not_train_it": (
        Fault("metalearn/pretraining.py", '"purpose": TUNING}', '"purpose": 0}'),
        Fault("metalearn/pretraining.py", "(order[:-VALIDATION], order[-VALIDATION:])", "(order, order[-VALIDATION:])"),
        Fault("metalearn/pretraining.py", "default_rng([self.config.seed, number])", "default_rng(self.config.seed)"),
        Fault("metalearn/pretraining.py", "seed, loop = int(rng.integers(2**62))", "seed, loop = self.config.seed"),
    ),
    FEW_SHOT + "::test_the_command_tunes_on_training_characters_and_judges_on_others": (
        Fault("metalearn/few_shot.py", "characters.train.images[:TUNING]", "characters.test.images[:TUNING]"),
    ),
    FEW_SHOT + "::test_no_character_of_omniglot_trains_and_judges": (
        Fault(
            "metalearn/omniglot.py",
            "both.select(order[TRAINING_CHARACTERS:])",
            "both.select(order[TRAINING_CHARACTERS - 1 :])",
        ),
        Fault(
            "metalearn/omniglot.py", 'SMALL1 if split == "small1" else BACKGROUND', "SMALL1 if split else BACKGROUND"
        ),
    ),
    FEW_SHOT + "::test_no_drawing_is_learned_from_and_asked_and_labels_mean_the_same_class": (
        Fault(
            "memenv/few_shot/episodes.py",
            "np.split(inputs[kind, instance], [shots], axis=1)",
            "inputs[kind, instance[:, :shots]], inputs[kind, instance[:, :-shots]]",
        ),
        Fault(
            "memenv/few_shot/episodes.py",
            "np.tile(label, (tasks, shots)), query",
            "np.tile(label[::-1], (tasks, shots)), query",
        ),
    ),
    PROTOCOL + "::test_benchmarks_tune_on_seeds_that_their_figures_do_not_see": (
        Fault("benchmarks/one_pulse.py", "errors(MORE * config.cells, TUNING)", "errors(config.cells, EVALUATION)"),
        Fault(
            "benchmarks/product_feedback.py", "default_rng((TUNING, seed, number))", "default_rng((0, seed, number))"
        ),
        Fault("benchmarks/product_feedback.py", '"anywhere", (TUNING, seed, ', '"anywhere", (0, seed, '),
    ),
    PROTOCOL + "::test_the_products_of_a_benchmark_are_judged_on_inputs_that_feedback_is_not_given": (
        Fault(
            "benchmarks/product_feedback.py",
            "work.known, noise, feedback=",
            "work.held, noise, feedback=",
        ),
        Fault("benchmarks/product_feedback.py", "work.held @ true", "work.known @ true"),
    ),
    PROTOCOL + "::test_a_cell_stays_the_same_as_long_as_it_is_programmed": (
        Fault(
            "agents/evaluation.py",
            "episode = task.transition(episode, action,",
            "episode = task.transition(task.with_chip(episode, task.fabricate(noise.chip, len(rows))), action,",
        ),
    ),
    PROTOCOL + "::test_only_a_bound_looks_at_the_chip": (
        Fault("agents/classical/bayes.py", "del chip", 'self.__dict__["_prior"] = known_cells(chip, cells)'),
    ),
    PROTOCOL + "::test_several_devices_are_trained_on_in_turn": (
        Fault("agents/predictor/training.py", "devices[iteration % len(devices)]", "devices[0]"),
    ),
    PROTOCOL + "::test_tuning_pays_for_failures_what_evaluation_counts": (
        Fault("agents/tuning.py", "outcomes.pulses + task.max_pulses * ~outcomes.accepted", "outcomes.pulses"),
        Fault(
            "agents/tuning.py", "task.max_pulses * ~outcomes.accepted", "task.max_pulses * (outcomes.acceptances == 0)"
        ),
    ),
    PROTOCOL + "::test_training_keeps_the_policy_whose_failures_are_paid_as_in_tuning": (
        Fault("agents/training.py", "one.pulses + max_pulses * ~one.accepted", "one.pulses[one.accepted]"),
    ),
    PROTOCOL + "::test_what_reinforcement_learning_earns_is_minus_the_cost_of_tuning": (
        Fault(
            "agents/training.py",
            '"weight_pulses": 1.0 / config.max_pulses',
            '"weight_pulses": WriteVerify.weight_pulses',
        ),
    ),
    "tests/test_train.py::test_of_policies_that_judging_cannot_tell_apart_the_latest_is_kept": (
        Fault("agents/training.py", "1 + ALIKE) * least", "1 + ALIKE) * max(row['cost'] for row in self.rows)"),
    ),
    "tests/test_train.py::test_an_interrupted_run_resumes_from_its_last_checkpoint": (
        Fault("agents/training.py", 'row["steps"] <= steps]', 'row["steps"] < steps]'),
    ),
    PROTOCOL + "::test_every_generation_is_judged_on_cells_of_its_own_and_the_best_of_the_last_judgement_wins": (
        Fault("agents/tuning.py", "mixed(seed, number))", "seed)"),
        Fault("agents/tuning.py", "generations = trials // size", "generations = trials // size - 1"),
        Fault("agents/tuning.py", "build(points[np.argmin(final)])", "build(points[0])"),
        Fault("agents/tuning.py", "best[-(FINALISTS - 2) :]", "best[:2]"),
        Fault("agents/tuning.py", "number < end * generations)", "True)"),
    ),
    PROTOCOL + "::test_loops_and_evaluations_tell_the_same_cost_of_every_parameter_set": (
        Fault(
            "agents/tuning.py",
            "reshape(cells, len(policies)).mean(axis=0)",
            "reshape(len(policies), cells).mean(axis=1)",
        ),
        Fault(
            "agents/bulk/writer.py",
            "np.divmod(np.arange(rows.start, rows.stop), copies)",
            "np.divmod(np.arange(rows.start, rows.stop) + 1, copies)",
        ),
        Fault("agents/bulk/writer.py", "drawn(task.step_draws, own)", "drawn(task.step_draws, noise)"),
    ),
    PROTOCOL + "::test_time_has_the_price_at_which_policies_are_trained": (
        Fault("agents/tuning.py", "priced / WriteVerify.weight_pulses", "priced"),
        Fault("agents/tuning.py", "task.weight_latency * outcomes.latency + ", ""),
    ),
    "tests/test_tuned.py::test_another_task_or_record_has_no_shipped_parameters": (
        Fault("agents/tuned.py", "if card.identity == own:", "if True:"),
    ),
    "tests/test_tuned.py::test_a_network_that_was_trained_again_is_another_policy": (
        Fault("agents/tuned.py", "hashlib.sha256(value.tobytes()).hexdigest()", "''"),
    ),
    PROTOCOL + "::test_a_comparison_judges_the_policy_that_was_tuned_in_the_task_that_was_asked_for": (
        Fault("agents/comparison.py", "outcomes = evaluate(found.policy, task", "outcomes = evaluate(policy, task"),
        Fault("agents/comparison.py", '"confirm_reads", "weight_energy"', '"weight_energy"'),
    ),
    PROTOCOL + "::test_intervals_of_a_comparison_cover_the_truth_in_95_of_100_experiments": (
        Fault("memenv/experiments/reporting.py", "[2.5, 97.5]", "[10.0, 90.0]"),
        Fault("memenv/experiments/reporting.py", "size=(TOGETHER, cells)", "size=(TOGETHER, 4 * cells)"),
    ),
    PROTOCOL + "::test_intervals_of_means_cover_the_truth_in_95_of_100_experiments": (
        Fault("memenv/experiments/reporting.py", "Z = 1.96", "Z = 1.28"),
        Fault("memenv/experiments/reporting.py", "values.std(ddof", "values.var(ddof"),
        Fault("memenv/experiments/reporting.py", "np.sqrt(len(values))", "np.sqrt(len(values) - 75)"),
    ),
    PROTOCOL + "::test_intervals_of_benchmarks_cover_the_truth_in_95_of_100_experiments": (
        Fault("memenv/experiments/reporting.py", "/ count[rows].sum(-1)", "/ count.sum()"),
    ),
    PROTOCOL + "::test_paired_intervals_cover_a_difference_that_intervals_of_both_sides_would_hide": (
        Fault("memenv/experiments/reporting.py", "np.subtract(values, rival, dtype=float)", "values - rival.mean()"),
    ),
    "tests/test_compare.py::test_differences_to_a_rival_are_those_of_the_same_cells_and_can_be_asked_for_later": (
        Fault("agents/comparison.py", "rival.task is one.task and ", ""),
        Fault(
            "agents/comparison.py",
            "paired_interval(one.outcomes.pulses, rival",
            "paired_interval(rival.outcomes.pulses, rival",
        ),
    ),
    PROTOCOL + "::test_an_interval_over_seeds_is_one_over_seeds": (
        Fault("benchmarks/ppo_learning.py", "[2.5, 97.5], axis=1", "[10.0, 90.0], axis=1"),
        Fault(
            "benchmarks/ppo_learning.py",
            "integers(curves.shape[1], size=(RESAMPLES, curves.shape[1]))",
            "integers(curves.shape[1], size=(RESAMPLES, 4 * curves.shape[1]))",
        ),
    ),
    PROTOCOL + "::test_percentiles_and_means_are_over_all_cells_and_errors_over_the_accepted": (
        Fault(
            "agents/comparison.py",
            "np.percentile(pulses, share, axis=-1)",
            "np.percentile(pulses[accepted], share, axis=-1)",
        ),
        Fault("agents/comparison.py", '("p95", 95)', '("p95", 90)'),
        Fault("agents/comparison.py", "(outcomes.error[rows] ** 2 * accepted)", "(outcomes.error[rows] ** 2)"),
        Fault(
            "agents/comparison.py",
            "outcomes.false_acceptances[rows].sum(axis=-1) / wins",
            "outcomes.false_acceptances[rows].mean(axis=-1)",
        ),
    ),
    PROTOCOL + "::test_outcomes_are_those_of_the_last_step_and_of_the_truth": (
        Fault("agents/evaluation.py", "error=error / size,", "error=error,"),
        Fault(
            "memenv/envs/write_verify/task.py",
            "(np.abs(true_error) > tolerance * (chip.g_max - chip.g_min))",
            "(np.abs(reading - episode.target) > tolerance)",
        ),
    ),
    PROTOCOL + "::test_a_cell_that_is_never_accepted_takes_its_whole_budget_and_no_more": (
        Fault("agents/evaluation.py", "range(1, task.max_steps + 2)", "range(1, task.max_steps)"),
    ),
    "tests/test_compare.py::test_figures_of_a_controller_that_accepts_nothing_are_stated_without_a_warning": (
        Fault(
            "agents/evaluation.py",
            "(accepted, ends.rounds_left < 0),",
            "(accepted, (ends.rounds_left < 0) | ends.gave_up),",
        ),
    ),
    "tests/test_compare.py::test_rounds_are_counted_one_by_one": (
        Fault("agents/evaluation.py", "spent[here] + 1", "spent[here]"),
    ),
    "tests/test_write_verify.py::test_an_acceptance_needs_every_confirming_read": (
        Fault(
            "memenv/envs/write_verify/task.py",
            "accepted = accepted & self.within(chip, reading, episode.target)",
            "pass",
        ),
    ),
    PROTOCOL + "::test_energy_and_latency_are_paid_step_by_step": (
        Fault(
            "memenv/envs/write_verify/task.py",
            "self.weight_latency * episode.step_latency",
            "self.weight_latency * episode.latency",
        ),
        Fault(
            "memenv/envs/write_verify/task.py",
            "self.weight_energy * episode.step_energy",
            "self.weight_energy * episode.energy",
        ),
    ),
    PROTOCOL + "::test_arrays_pay_for_energy_and_latency_step_by_step": (
        Fault(
            "memenv/envs/crossbar_program/task.py", '"latency": (new.latency - old.latency)', '"latency": (new.latency)'
        ),
    ),
    PROTOCOL + "::test_the_acceptance_that_training_maximises_is_that_of_noisy_reads": (
        Fault("agents/predictor/training.py", "variance + noise**2 +", "variance +"),
    ),
    PROTOCOL + "::test_training_tells_the_acceptance_the_noise_of_the_devices_reads": (
        Fault("agents/predictor/training.py", "tolerance, chip.verify_noise)", "tolerance, 0.0)"),
    ),
    FEW_SHOT + "::test_mixed_precision_owes_what_a_limit_of_pulses_cuts_off": (
        Fault("memenv/learning/updates.py", "residual = want - pulses * step", "residual = (given - pulses) * step"),
    ),
    "tests/test_adapt.py::test_the_ideal_loop_and_its_derivative_equal_a_hand_unrolled_one": (
        Fault("metalearn/adaptation.py", "w - rate * weight_gradient", "w + rate * weight_gradient"),
    ),
    FEW_SHOT + "::test_pretraining_does_not_learn_a_task_from_its_queries": (
        Fault(
            "metalearn/outer.py", 'if loop.method == "reptile":  # it has no queries', "if True:  # it has no queries"
        ),
    ),
    FEW_SHOT + "::test_an_answer_does_not_depend_on_what_else_is_asked": (
        Fault(
            "metalearn/evaluation.py",
            "begun.outputs(learner, layers, of.query_x)",
            "begun.outputs(learner, layers, of.query_x - of.query_x.mean(1, keepdims=True))",
        ),
        Fault(
            "metalearn/evaluation.py",
            "begun.outputs(learner, layers, of.query_x)",
            "begun.outputs(learner, layers, of.query_x / of.query_x.std(1, keepdims=True))",
        ),
    ),
    FEW_SHOT + "::test_delays_count_from_the_last_step": (
        Fault(
            "metalearn/evaluation.py",
            "[share(learner.rested(layers, seconds)) for seconds in delays]",
            "[share(layers := learner.rested(layers, seconds)) for seconds in delays]",
        ),
    ),
    "tests/test_metalearn_train.py::test_an_interrupted_run_resumes_to_where_an_uninterrupted_one_ends": (
        Fault(
            "metalearn/pretraining.py",
            "for step in range(curve.done, config.steps):",
            "for step in range(curve.done + bool(curve.done), config.steps):",
        ),
        Fault("metalearn/pretraining.py", '"optimiser": self.learner.optimiser}', '"optimiser": torch.nn.Identity()}'),
    ),
    PROGRAM + "::test_a_product_is_judged_on_inputs_that_it_was_not_programmed_for": (
        Fault(
            "agents/arrays/programming.py",
            "(inputs[1::2] if product else inputs)",
            "(inputs[::2] if product else inputs)",
        ),
    ),
    PROGRAM + "::test_feedback_is_given_the_examples_and_never_what_is_judged": (
        Fault("agents/arrays/programming.py", "examples=inputs[::2] if product", "examples=inputs if product"),
    ),
    PROGRAM + "::test_every_tile_has_a_chip_starts_and_noise_of_its_own": (
        Fault(
            "agents/arrays/tiles.py",
            "ArrayNoise.of(EVALUATION, self.seed, tile.row, tile.col)",
            "ArrayNoise.of(EVALUATION, self.seed)",
        ),
        Fault("agents/arrays/tiles.py", "self.seed, tile.row, tile.col)", "self.seed, tile.row + tile.col)"),
    ),
    PROGRAM + "::test_a_converter_that_has_the_levels_of_the_inputs_changes_nothing": (
        Fault(
            "agents/arrays/programming.py",
            "dac=Converter(bits=config.dac_bits, full_scale=volts)",
            "dac=Converter(bits=config.dac_bits, full_scale=2 * volts)",
        ),
    ),
    PROGRAM + "::test_the_converters_end_where_the_largest_signals_do": (
        Fault("agents/arrays/programming.py", "full_scale=config.adc_range * largest", "full_scale=largest"),
    ),
    PROGRAM + "::test_what_programs_has_the_parameters_that_tuning_found": (
        Fault("agents/arrays/programming.py", ", policy=tuned.policy", ""),
    ),
    PROGRAM + "::test_products_are_judged_with_the_noise_of_reads_and_cells_by_the_truth": (
        Fault(
            "agents/arrays/report.py",
            '"false_acceptances": int((accepted & ~inside).sum())',
            '"false_acceptances": int((~inside).sum())',
        ),
        Fault(
            "agents/arrays/tiles.py",
            "crossbar.product(state, voltages, converters)",
            "crossbar.product(state, voltages, (0 * converters[0], 0 * converters[1]))",
        ),
    ),
    PROGRAM + "::test_feedback_hears_reads_and_not_the_truth": (
        Fault(
            "agents/arrays/product_feedback.py",
            "held, price = encoding.decode(now.reading),",
            "held, price = encoding.decode(writer.crossbar.conductance(now.state)),",
        ),
    ),
}


class Outcome(NamedTuple):
    """What became of a fault."""

    word: str  # killed, survived, or broken: the test did not run
    said: str  # by pytest: the error, or else its last line


def rotten(fault: Fault) -> bool:
    """Whether the fault cannot be put in any more."""
    path = ROOT / fault.path
    return not path.is_file() or path.read_text(encoding="utf-8").count(fault.old) != 1


def tried(tests: Sequence[str], fault: Fault | None = None) -> Outcome:
    """Run tests in this process on a copy of the tree, with a fault in it or without."""
    with tempfile.TemporaryDirectory(prefix="memenv-mutant-") as folder:
        for name in TREE:
            (shutil.copytree if (ROOT / name).is_dir() else shutil.copy2)(ROOT / name, Path(folder) / name)
        if fault:
            path = Path(folder) / fault.path
            path.write_text(path.read_text(encoding="utf-8").replace(fault.old, fault.new), encoding="utf-8")
        os.chdir(folder)
        sys.path.insert(0, folder)
        signal.signal(signal.SIGALRM, _late)
        signal.alarm(LIMIT)
        with contextlib.redirect_stdout(io.StringIO()) as text:
            status = pytest.main(["-x", "-q", "-o", "addopts=", "-p", "no:cacheprovider", *tests])
        os.chdir(ROOT)
    lines = text.getvalue().strip().splitlines()
    errors = [line.removeprefix("E").strip() for line in lines if line.startswith("E  ")]
    return Outcome({0: "survived", 1: "killed"}.get(int(status), "broken"), (errors or lines[-1:] or [""])[0])


def _late(*_: object) -> None:
    raise TimeoutError(f"no end after {LIMIT} s")


def main() -> int:
    """Try all faults, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="faults that are tried at the same time")
    parser.add_argument("--only", default="", help="those whose file or test has this text in its name")
    options = parser.parse_args()
    work = [
        (test, fault) for test, faults in FAULTS.items() for fault in faults if options.only in f"{fault.path} {test}"
    ]
    for fault in (lost := [fault for _, fault in work if rotten(fault)]):
        print(f"{fault.path} does not hold {fault.old!r} once: take the fault along, or give it up with its reason")
    if lost or not work:
        return 1
    for name in PRELOADED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    outcomes = []
    with multiprocessing.get_context("fork").Pool(options.jobs, maxtasksperchild=1) as pool:
        sound = pool.apply(tried, [sorted({test for test, _ in work})])
        if sound.word != "survived":
            print(f"without any fault the tests are {sound.word}: {sound.said}")
            return 1
        running = [pool.apply_async(tried, ([test], fault)) for test, fault in work]
        for (test, fault), outcome in zip(work, (one.get() for one in running), strict=True):
            fact = test.partition("::test_")[2].replace("_", " ")
            lines = f"{outcome.word:<9} {fact}", f"{fault.path}: {fault.old}  ->  {fault.new}", outcome.said
            print(("\n" + " " * 10).join(lines), flush=True)
            outcomes.append(outcome.word)
    print(f"{outcomes.count('killed')} of {len(work)} faults killed")
    return int(set(outcomes) != {"killed"})


if __name__ == "__main__":
    sys.exit(main())
