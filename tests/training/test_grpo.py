"""GRPO on groups: TRL's own log-probabilities, whole groups, bit-exact resume, never below where it began."""

import importlib.metadata
import inspect
import time

import numpy as np
import pytest
import torch
from trl import GRPOTrainer

from genrec.errors import ArtifactError
from genrec.models.language import load_pretrained, sid_vocabulary
from genrec.training import rewards
from genrec.training.grpo import GroupTrainer, fold_groups, train_rl, unfold_groups
from genrec.training.grpo_arguments import grpo_arguments
from genrec.training.rewards import Knowledge
from genrec.training.rl_start import load_policy
from genrec.training.rollout import make_answers
from tests.training.killed import KilledAfter
from tests.training.small_rl import GROUP, configured, prompts_of


def parts(shop, config):
    model, tokenizer = load_policy(shop.model, torch.device("cpu"))
    answers = make_answers(shop.texts.index, sid_vocabulary(tokenizer, shop.texts.index), model.device, GROUP)
    knowledge = Knowledge(shop.texts.index.codes, shop.data.train_count)
    return model, tokenizer, prompts_of(config, shop.data, shop.texts, tokenizer), answers, knowledge


def run(shop, directory, config, decode=None, callbacks=()):
    torch.manual_seed(0)
    model, tokenizer, prompts, answers, knowledge = parts(shop, config)
    decode = decode or (lambda: {"ndcg@10": 0.0})
    return train_rl(
        config.rl, config.run, directory, model, tokenizer, prompts, answers, knowledge, decode, list(callbacks)
    )


def trainer_of(shop, directory, config):
    torch.manual_seed(0)
    model, tokenizer, prompts, answers, knowledge = parts(shop, config)
    arguments = grpo_arguments(config.rl, config.run, directory, 2, len(prompts))
    rest = {"train_dataset": prompts, "eval_dataset": prompts, "processing_class": tokenizer}
    return GroupTrainer(model, arguments, config.rl, answers, knowledge, lambda: {"ndcg@10": 0.0}, **rest)


def rising():
    scores = iter(np.arange(1, 100) / 100)
    return lambda: {"ndcg@10": float(next(scores))}


def ever_better():
    """Also after a kill: every validation beats all before it."""
    return {"ndcg@10": time.perf_counter()}


def falling():
    scores = iter(1 - np.arange(1, 100) / 100)
    return lambda: {"ndcg@10": float(next(scores))}


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def differ(one, two):
    return max((one[name].float() - two[name].float()).abs().max().item() for name in one)


def test_the_seams_of_trl_are_where_we_look_for_them():
    assert importlib.metadata.version("trl").startswith("1.16.")
    names = ["self", "model", "input_ids", "attention_mask", "logits_to_keep", "batch_size", "compute_entropy"]
    assert list(inspect.signature(GRPOTrainer._get_per_token_logps_and_entropies).parameters)[:7] == names
    assert list(inspect.signature(GRPOTrainer._compute_loss).parameters) == ["self", "model", "inputs"]
    assert list(inspect.signature(GRPOTrainer._generate_and_score_completions).parameters) == ["self", "inputs"]
    assert "rollout_func" in inspect.signature(GRPOTrainer.__init__).parameters


def test_vocab_log_probabilities_are_those_of_trl(shop, tmp_path):
    trainer = trainer_of(shop, tmp_path, configured(tmp_path, normalization="vocab"))
    trainer.model.train()
    batch = unfold_groups(trainer._generate_and_score_completions(next(iter(trainer.get_train_dataloader()))))
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
    assert (batch["prompt_mask"].sum(1).unique().numel()) > 1  # prompts of several lengths
    ours, _, _ = trainer._get_per_token_logps_and_entropies(trainer.model, ids, mask, 2)
    theirs, _, _ = GRPOTrainer._get_per_token_logps_and_entropies(trainer, trainer.model, ids, mask, 2)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    loss, gradient = {}, {}
    for name, owner in (("ours", GroupTrainer), ("theirs", GRPOTrainer)):
        trainer.model.zero_grad()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(GroupTrainer, "_get_per_token_logps_and_entropies", owner._get_per_token_logps_and_entropies)
            trainer.current_gradient_accumulation_steps = 1
            loss[name] = trainer._compute_loss(trainer.model, fold_groups(batch, GROUP))
        loss[name].backward()
        gradient[name] = torch.cat([p.grad.flatten() for p in trainer.model.parameters()])
    assert (gradient["ours"] - gradient["theirs"]).norm() <= 1e-4 * gradient["theirs"].norm()


def test_groups_stay_whole_through_shuffling_and_micro_batches(shop, tmp_path):
    trainer = trainer_of(shop, tmp_path, configured(tmp_path, micro_batch_size=8))
    trainer.model.train()
    rows = next(iter(trainer.get_train_dataloader()))
    assert len(rows) == 16 and trainer.args.steps_per_generation == 2
    first = trainer._prepare_inputs(rows)
    trainer._step += 1
    for batch in (first, trainer._prepare_inputs(rows)):
        assert batch["prompt_ids"].shape[:2] == (2, GROUP)
        assert (batch["prompt_ids"] == batch["prompt_ids"][:, :1]).all()
        answers = [{tuple(one) for one in group} for group in batch["completion_ids"].tolist()]
        assert all(len(group) == GROUP for group in answers)


# Adam makes a full step of a gradient that is rounding and nothing else; plain gradients compare.
SGD = {"learning_rate": 1.0, "trainer": {"optim": "sgd"}}


@pytest.mark.parametrize("normalization", ["trie", "vocab"])
def test_micro_batches_change_nothing(shop, tmp_path, normalization):
    last = {}
    for micro in (16, 4):
        config = configured(tmp_path / str(micro), micro_batch_size=micro, normalization=normalization, **SGD)
        last[micro] = weights(run(shop, tmp_path / str(micro), config, rising())[0])
    assert differ(last[16], last[4]) < 2e-5


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"sync_ref_model": True, "trainer": {"ref_model_sync_steps": 1}, "micro_batch_size": 8},
        {"beam_search": False, "dynamic_sampling": True, "trainer": {"num_iterations": 2}},
        pytest.param({"lora": {"r": 4}}, marks=pytest.mark.slow),
        pytest.param({"num_epochs": 3}, marks=pytest.mark.slow),
    ],
    ids=["beams", "reference follows", "sampling", "lora", "epochs"],
)
def test_a_killed_run_ends_in_the_same_bits(shop, tmp_path, changes):
    config = configured(tmp_path, **changes)
    model, record = run(shop, tmp_path / "a", config, ever_better)
    unbroken, steps = weights(model), record.length
    with pytest.raises(KeyboardInterrupt):
        run(shop, tmp_path / "b", config, ever_better, [KilledAfter(steps // 2)])
    assert list((tmp_path / "b").glob(f"checkpoint-{steps // 2}"))
    again, record = run(shop, tmp_path / "b", config, ever_better)
    assert record.best == steps and differ(unbroken, weights(again)) == 0
    assert differ(unbroken, weights(load_pretrained(str(shop.model), torch.float32)[0])) > 0


@pytest.mark.parametrize("during", [True, False])
def test_the_best_on_valid_is_kept_the_start_included(shop, tmp_path, during, capsys):
    start = weights(load_pretrained(str(shop.model), torch.float32)[0])
    config = configured(tmp_path, test_during_training=during)
    model, record = run(shop, tmp_path / "down", config, falling())
    assert record.best == 0 and differ(start, weights(model)) == 0
    assert record.score == record.statistics["sft_valid_ndcg@10"] == 0.99
    assert "RL did not help on valid" in capsys.readouterr().out
    model, record = run(shop, tmp_path / "up", config, rising())
    assert record.best == record.length == 4 and differ(start, weights(model)) > 0
    assert record.statistics["sft_valid_ndcg@10"] == 0.01 < record.score


def test_validations_happen_at_eval_step_or_not_at_all(shop, tmp_path):
    counts = {}
    for during in (True, False):
        asked = []
        decode = lambda asked=asked: asked.append(1) or {"ndcg@10": len(asked) / 10}  # noqa: E731
        run(shop, tmp_path / str(during), configured(tmp_path, test_during_training=during, eval_step=0.25), decode)
        counts[during] = len(asked)
    assert counts == {True: 5, False: 2}


def test_early_stop_counts_validations_that_do_not_beat_the_start(shop, tmp_path):
    _, record = run(shop, tmp_path, configured(tmp_path, early_stop=1, eval_step=0.25), falling())
    assert record.length == 1


def test_a_policy_that_leaves_the_reference_is_stopped(shop, tmp_path):
    config = configured(tmp_path, learning_rate=0.1, kl_limit=0.01, eval_step=1, trainer={"logging_steps": 1})
    _, record = run(shop, tmp_path, config, rising())
    assert record.length < 4 and "passed rl.kl_limit 0.01" in record.statistics["stopped"] and record.best == 0


def test_dead_groups_leave_the_loss_where_asked(shop, tmp_path, monkeypatch):
    monkeypatch.setitem(rewards.REWARDS, "rule", only_the_first_group)
    for masked, alive in ((True, [True, False, False, False]), (False, [True] * 4)):
        config = configured(tmp_path, mask_all_zero=masked, reward_type="rule")
        trainer = trainer_of(shop, tmp_path, config)
        trainer.model.train()
        batch = trainer._generate_and_score_completions(next(iter(trainer.get_train_dataloader())))
        assert batch["completion_mask"].any(-1).any(-1).tolist() == alive
        assert batch["num_items_in_batch"].item() == sum(alive) * GROUP * 2


def only_the_first_group(groups, knowledge):
    value = np.full(groups.item.shape, 0.7)  # no number whose mean is exact
    value[0, 0] = 1
    return value


@pytest.mark.parametrize(
    "changes",
    [
        {"dapo": True},
        {"gspo": True},
        {"trainer": {"loss_type": "dr_grpo", "scale_rewards": "none"}},
        {"beta": 0},
        {"bf16": True},
        {"gradient_checkpointing": True},
    ],
    ids=str,
)
def test_every_loss_and_arithmetic_trains(shop, tmp_path, changes):
    model, record = run(shop, tmp_path, configured(tmp_path, **changes), rising())
    assert record.best == 4
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())


def test_lora_learns_against_the_model_without_its_adapters(shop, tmp_path):
    trainer = trainer_of(shop, tmp_path, configured(tmp_path))
    assert trainer.ref_model is not None
    model, record = run(shop, tmp_path / "lora", configured(tmp_path, lora={"r": 4}, learning_rate=1e-2), rising())
    start = weights(load_pretrained(str(shop.model), torch.float32)[0])
    assert set(weights(model)) == set(start) and differ(start, weights(model)) > 1e-4
    assert differ({"e": start["model.embed_tokens.weight"]}, {"e": model.get_input_embeddings().weight}) == 0


def test_fewer_prompts_than_a_step_takes(shop, tmp_path):
    with pytest.raises(ArtifactError, match="3 prompts are fewer than one step takes"):
        run(shop, tmp_path, configured(tmp_path, sample_size=3))


REFERENCE_FOLLOWS = {"sync_ref_model": True, "trainer": {"ref_model_sync_steps": 1}}


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        pytest.param({}, "optimizer.pt", marks=pytest.mark.slow),
        (REFERENCE_FOLLOWS, "reference.safetensors"),
        pytest.param({"lora": {"r": 4}}, "adapter_model.safetensors", marks=pytest.mark.slow),
    ],
)
def test_a_damaged_newest_checkpoint_ends_in_the_same_bits(shop, tmp_path, capfd, changes, name):
    config = configured(tmp_path, eval_step=0.25, **changes)
    unbroken = weights(run(shop, tmp_path / "a", config, ever_better)[0])
    with pytest.raises(KeyboardInterrupt):
        run(shop, tmp_path / "b", config, ever_better, [KilledAfter(2)])
    path = tmp_path / "b" / "checkpoint-2" / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert differ(unbroken, weights(run(shop, tmp_path / "b", config, ever_better)[0])) == 0
    assert f"rl: checkpoint-2 cannot be used: {name} has " in capfd.readouterr().out


def test_a_reward_that_is_no_number_ends_the_training(shop, tmp_path, monkeypatch):
    monkeypatch.setitem(rewards.REWARDS, "prefix", lambda groups, knowledge: np.full(groups.item.shape, np.nan))
    with pytest.raises(ArtifactError, match="reward 'prefix' is not a number for 16 of 16 answers"):
        run(shop, tmp_path, configured(tmp_path))
    assert not list(tmp_path.glob("checkpoint-*"))


def test_a_weight_that_is_no_number_ends_the_training_at_its_step(shop, tmp_path):
    class Plant(KilledAfter):
        def on_step_end(self, args, state, control, model=None, **kwargs) -> None:
            with torch.no_grad():
                model.get_input_embeddings().weight[:] = float("nan")

    with pytest.raises(ArtifactError, match="^rl: .* no finite numbers after step 1; nothing of it was published"):
        run(shop, tmp_path, configured(tmp_path, eval_step=0.25), rising(), [Plant(1)])
    assert not list(tmp_path.glob("checkpoint-*/whole.json"))
