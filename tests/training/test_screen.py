"""What a training shows, worked by hand: the lines, and the bar that a terminal gets."""

from types import SimpleNamespace

import pytest

from genrec.training import screen
from genrec.training.screen import RlScreen, SftScreen, format_duration


def state(**values):
    return SimpleNamespace(
        **{"global_step": 0, "max_steps": 400, "epoch": 0.0, "is_world_process_zero": True, **values}
    )


def begun(shown, clock, args, **values):
    clock.now = 100.0
    shown.on_train_begin(args, state(**values), None)
    return shown


@pytest.fixture
def clock(monkeypatch):
    found = SimpleNamespace(now=0.0)
    monkeypatch.setattr(screen.time, "monotonic", lambda: found.now)
    return found


QUIET = SimpleNamespace(disable_tqdm=True, eval_strategy="steps")
UNJUDGED = SimpleNamespace(disable_tqdm=True, eval_strategy="no")
TERMINAL = SimpleNamespace(disable_tqdm=False, eval_strategy="steps")
LOSS = {"loss": 2.1234, "grad_norm": 0.456, "learning_rate": 3e-4}
VALID = {"eval_ndcg@10": 0.04294, "eval_hr@10": 0.108}


def test_pace_and_time_left_of_sft(clock, capsys):
    shown = begun(SftScreen(targets=5000), clock, QUIET)
    clock.now = 120.0
    shown.on_log(QUIET, state(global_step=40, epoch=0.4), None, logs=dict(LOSS))
    # .4 epochs of 5,000 targets in 20 s; 360 of 400 steps left at 2 a second
    assert capsys.readouterr().out == "sft: step 40/400: loss 2.123, rate 3.0e-04, 100 targets/s, 3 min left\n"


def test_a_resumed_run_is_timed_from_where_it_goes_on(clock, capsys):
    shown = begun(SftScreen(targets=5000), clock, QUIET, global_step=40, epoch=0.4)
    clock.now = 110.0
    shown.on_log(QUIET, state(global_step=60, epoch=0.6), None, logs=dict(LOSS))
    assert "100 targets/s, 3 min left" in capsys.readouterr().out  # 170 s


def test_validation_is_a_line_and_the_closing_summary_is_none(clock, capsys):
    shown = begun(SftScreen(targets=5000), clock, QUIET)
    shown.on_log(QUIET, state(global_step=98), None, logs=dict(VALID))
    shown.on_log(QUIET, state(global_step=400), None, logs={"train_runtime": 1.0})
    assert capsys.readouterr().out == "sft: step 98/400: valid NDCG@10 0.0429, HR@10 0.1080\n"


@pytest.mark.parametrize(("validations", "lines"), [(4, 5), (5, 6), (40, 6)])
def test_a_run_without_a_terminal_has_its_first_loss_and_at_most_five_validations(clock, capsys, validations, lines):
    shown = begun(SftScreen(targets=5000), clock, QUIET)
    clock.now = 120.0
    for step in range(1, 401):
        if step % 10 == 0:
            shown.on_log(QUIET, state(global_step=step, epoch=step / 100), None, logs=dict(LOSS))
        if step % (400 // validations) == 0:
            shown.on_log(QUIET, state(global_step=step, epoch=step / 100), None, logs=dict(VALID))
    said = capsys.readouterr().out.splitlines()
    assert len(said) == lines and said[0].startswith("sft: step 10/400: loss")
    assert said[-1] == "sft: step 400/400: loss 2.123, 0 s left; valid NDCG@10 0.0429, HR@10 0.1080"


def test_a_run_without_validation_says_its_losses(capsys):
    shown = RlScreen()
    shown.on_train_begin(UNJUDGED, state(), None)
    for step in range(10, 401, 10):
        shown.on_log(UNJUDGED, state(global_step=step), None, logs={"reward": 0.1, "kl": 0.01})
    assert [line.split(":")[1] for line in capsys.readouterr().out.splitlines()] == [
        f" step {step}/400" for step in (10, 80, 160, 240, 320, 400)
    ]


def test_rl_says_what_is_dead_and_what_took_how_long(capsys):
    logs = {"reward": 0.1, "hit_in_group": 0.25, "frac_reward_zero_std": 0.75, "kl": 0.01, "seconds/rollout": 0.5}
    RlScreen().on_log(QUIET, state(global_step=5), None, logs=logs)
    told = "rl: step 5/400: reward 0.100, hit 25.0%, dead 75.0%, kl 0.0100, rollout 0.50 s\n"
    assert capsys.readouterr().out == told


def test_a_terminal_has_a_bar_with_the_loss_and_the_validations_above_it(clock, capsys):
    shown = begun(SftScreen(targets=5000), clock, TERMINAL)
    clock.now = 120.0
    shown.on_step_end(TERMINAL, state(global_step=40), None)
    shown.on_log(TERMINAL, state(global_step=40, epoch=0.4), None, logs=dict(LOSS))
    shown.on_log(TERMINAL, state(global_step=40, epoch=0.4), None, logs=dict(VALID))
    shown.on_train_end(TERMINAL, state(global_step=40), None)
    out, err = capsys.readouterr()
    assert out == "sft: step 40/400: loss 2.123; valid NDCG@10 0.0429, HR@10 0.1080\n"
    assert "sft:" in err and "40/400" in err and "loss 2.123" in err


def test_durations():
    assert [format_duration(seconds) for seconds in (5, 119, 130, 8000)] == ["5 s", "119 s", "2 min", "2.2 h"]
