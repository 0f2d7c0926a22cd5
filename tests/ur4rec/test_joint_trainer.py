"""The trainer: who has gradients when, what every switch changes, and that a killed run ends as a whole one."""

import numpy as np
import pytest
import torch

from genrec.errors import ArtifactError
from genrec.runtime import epochs
from genrec.runtime.tensor_file import read_tensors, write_tensors
from tests.ur4rec.conftest import ITEMS, item_features, loaders, user_preferences
from tests.ur4rec.test_models import small
from UR4Rec.data.content import Content
from UR4Rec.models.joint_trainer import SCORER_OF, STAGES, JointTrainer, bpr_loss, predicted_positions
from UR4Rec.models.stages import BEST, fit_stages, retriever_epochs
from UR4Rec.models.training_strategies import CURRICULUM

MODULES = ("sasrec", "retriever", "fusion")


def trainer(dropout: float = 0.0, **options) -> JointTrainer:
    model = small(features=item_features(images=True), preferences=user_preferences(), dropout=dropout)
    return JointTrainer(model, **{"retriever_lr": 1e-3, "use_adaptive_alternating": False, **options})


def moved(joint: JointTrainer, steps: int = 1) -> set[str]:
    """The modules whose weights a few steps change."""
    before = {name: value.clone() for name, value in joint.model.named_parameters()}
    batch = next(iter(loaders()[0]))
    for _ in range(steps):
        joint.train_step(batch)
    after = dict(joint.model.named_parameters())
    return {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])}


def test_each_stage_has_the_gradients_it_should():
    joint = trainer()
    joint.set_training_stage("pretrain_sasrec")
    assert moved(joint) == {"sasrec"}
    joint.set_training_stage("pretrain_retriever")
    assert moved(joint) == {"retriever"}
    joint.set_training_stage("joint_finetune")
    assert moved(joint) == {"sasrec", "fusion"}  # after pretrain_retriever SASRec learns again
    assert joint.model.retriever.bias.grad is None
    assert moved(joint) == {"retriever", "fusion"}
    assert joint.model.sasrec.bias.grad is None
    joint.set_training_stage("end_to_end")
    assert moved(joint) == set(MODULES)
    with pytest.raises(ValueError, match="no stage 'warm'; there are: pretrain_sasrec"):
        joint.set_training_stage("warm")


def test_every_parameter_belongs_to_one_optimizer():
    joint = trainer(use_uncertainty_weighting=True)
    held = [p for optimizer in joint.optimizers.values() for group in optimizer.param_groups for p in group["params"]]
    every = [*joint.model.parameters(), *joint.uncertainty.parameters()]
    assert len(held) == len({id(p) for p in held}) == len(every)
    joint.set_training_stage("end_to_end")
    moved(joint)
    assert all(value.item() != 0 for value in joint.uncertainty.log_variance.values())


def test_adaptive_alternation_sees_the_real_losses():
    joint = trainer(use_adaptive_alternating=True, adaptive_min_steps=3, adaptive_switch_threshold=10.0)
    joint.set_training_stage("joint_finetune")
    batch = next(iter(loaders()[0]))
    for step in range(1, 8):
        module = joint.adaptive_alternating.current_module
        metrics = joint.train_step(batch)
        stats = joint.adaptive_alternating.get_stats()
        assert stats[f"{module}_loss"] == metrics[f"{module}_loss"] > 0
        assert stats["switch_count"] == step // 3
        assert metrics["total_loss"] == metrics["fused_loss"]
        assert metrics["objective_loss"] == pytest.approx(
            metrics[f"{module}_loss"] + metrics["fused_loss"] + 0.01 * metrics.get("balance_loss", 0.0), rel=1e-5
        )


@pytest.mark.parametrize("first", ["sasrec", "retriever"])
def test_an_epoch_of_turns_has_every_loss_whoever_begins(first):
    """Its mean over the steps that have it: balance is a loss of the retriever's turns alone."""
    joint = trainer()
    joint.set_training_stage("joint_finetune")
    joint.adaptive_alternating.current_module = first
    steps, one = [], joint.train_step
    joint.train_step = lambda batch: steps.append(one(batch)) or steps[-1]
    metrics = joint.train_epoch(loaders()[0], 0)
    balance = [step["balance_loss"] for step in steps if "balance_loss" in step]
    assert 0 < len(balance) < len(steps)
    assert metrics["balance_loss"] == pytest.approx(np.mean(balance))


def first_step(stage: str, **options) -> tuple[dict[str, float], torch.Tensor]:
    """Losses of a stage's third step, and the retriever's weights after it."""
    joint = trainer(**options)
    joint.set_training_stage(stage)
    batch = next(iter(loaders()[0]))
    for _ in range(3):
        metrics = joint.train_step(batch)
    return metrics, torch.cat([p.detach().flatten() for p in joint.model.retriever.parameters()])


@pytest.mark.parametrize(
    "stage, options, loss",
    [
        ("pretrain_retriever", {"use_memory_bank": True}, "memory_bank_loss"),
        ("pretrain_retriever", {"use_curriculum_learning": True, "curriculum_steps": 9}, "consistency_loss"),
        ("end_to_end", {"use_knowledge_distillation": True}, "distillation_loss"),
        ("end_to_end", {"use_uncertainty_weighting": True}, "total_loss"),
        ("pretrain_retriever", {"loss": "bpr"}, "total_loss"),
        ("pretrain_retriever", {"balance_weight": 1.0}, "total_loss"),
        ("joint_finetune", {"use_adaptive_alternating": True}, "total_loss"),
    ],
)
def test_every_switch_changes_what_is_trained(stage, options, loss):
    (_, plain), (metrics, weights) = first_step(stage), first_step(stage, **options)
    assert np.isfinite(metrics[loss])
    assert not torch.equal(plain, weights)


def test_memory_bank_fills_with_the_rows_of_each_step():
    joint = trainer(use_memory_bank=True, memory_bank_size=20)
    joint.set_training_stage("pretrain_retriever")
    batch = next(iter(loaders()[0]))
    for rows in (8, 16, 20):
        joint.train_step(batch)
        assert len(joint.memory_bank.ids) == rows
    assert joint.memory_bank.ids[-8:].tolist() == batch["target_items"].tolist()


def test_losses_taken_in_runs_are_the_mean_over_all_positions(monkeypatch):
    import UR4Rec.models.joint_trainer as module

    joint = trainer(use_knowledge_distillation=True)
    joint.set_training_stage("end_to_end")
    batch = next(iter(loaders()[0]))
    whole, _ = joint.losses(batch, MODULES)
    monkeypatch.setattr(module, "RUN", 7)
    runs, _ = joint.losses(batch, MODULES)
    for name in whole:
        torch.testing.assert_close(whole[name], runs[name])


def test_windows_and_single_rows_predict_the_same_targets_once():
    for windows in (True, False):
        targets = torch.cat([predicted_positions(batch)[1] for batch in loaders(windows)[0]])
        assert len(targets) == 24 * 9  # twelve films a user: less the first, the valid and the test one
        assert not (targets == 0).any()


def test_bpr_by_hand():
    scores = torch.tensor([[0.0, 1.0, 3.0, 2.0]])
    loss = bpr_loss(scores, torch.tensor([2]), torch.tensor([[1, 3]]))
    assert loss.item() == pytest.approx((np.log1p(np.exp(-2)) + np.log1p(np.exp(-1))) / 2)


def test_both_parts_learn_the_ring():
    joint = trainer(sasrec_lr=1e-2, retriever_lr=1e-2)
    train, valid, _ = loaders()
    for scorer in ("sasrec", "retriever"):
        joint.set_training_stage(f"pretrain_{scorer}")
        losses = [joint.train_epoch(train, epoch)["total_loss"] for epoch in range(12)]
        assert losses[-1] < 0.7 * losses[0]
        assert joint.evaluate(valid, scorer=scorer)["ndcg@10"] > 0.55  # 0.2 by chance over some 20 unseen films


def test_evaluation_by_brute_force():
    joint = trainer()
    valid = loaders()[1]
    ranks, drawn = [], []
    for batch in valid:
        scores = joint.score(batch)
        for row, user in enumerate(batch["user_index"].tolist()):
            target = batch["target_items"][row].item()
            others = [i for i in range(1, ITEMS + 1) if i != target and not valid.dataset.seen[user, i]]
            ranks.append(1 + int((scores[row, others] >= scores[row, target]).sum()))
            drawn.append(1 + int((scores[row, batch["candidate_items"][row, 1:]] >= scores[row, target]).sum()))
    for protocol, rank in (("full", np.array(ranks)), ("candidates", np.array(drawn))):
        metrics = joint.evaluate(valid, protocol=protocol)
        assert metrics["hit@10"] == pytest.approx((rank <= 10).mean())
        assert metrics["ndcg@5"] == pytest.approx(np.where(rank <= 5, 1 / np.log2(rank + 1), 0).mean())
        assert metrics["mrr"] == pytest.approx((1 / rank).mean())
        assert metrics["avg_rank"] == pytest.approx(rank.mean())


def test_the_curriculum_reaches_its_last_phase_in_whatever_length_a_training_has(tmp_path):
    """Ten epochs of the retriever, or one: the last term has its full weight at the end."""
    assert retriever_epochs({"pretrain_retriever": 2, "joint_finetune": 5, "end_to_end": 1}) == 5.5
    for most in (10, 1):
        joint = trainer(use_curriculum_learning=True)
        fit_stages(joint, *loaders()[:2], {"pretrain_retriever": most}, 0, tmp_path / str(most))
        assert joint.curriculum.weights(joint.retriever_steps) == {name: top for name, (*_, top) in CURRICULUM.items()}
        assert joint.curriculum.weights(0) == dict.fromkeys(CURRICULUM, 0.0)
    with pytest.raises(ValueError, match="do not tell the curriculum's length; give curriculum_steps"):
        joint = trainer(use_curriculum_learning=True)
        joint.set_training_stage("pretrain_retriever")
        joint.train_step(next(iter(loaders()[0])))


def test_total_loss_is_that_of_the_next_item_in_every_stage():
    joint = trainer(use_memory_bank=True)
    batch = next(iter(loaders()[0]))
    for stage in STAGES:
        joint.set_training_stage(stage)
        metrics = joint.train_step(batch)
        assert metrics["total_loss"] == metrics[f"{SCORER_OF.get(stage, 'fused')}_loss"]
        assert (metrics["objective_loss"] == metrics["total_loss"]) == (stage == "pretrain_sasrec")


def test_rows_are_learned_as_windows_where_the_loss_allows(monkeypatch):
    """Each target once, in as many steps; against negatives of its own every row stays a row."""
    rows = loaders(windows=False)[0]
    learned = []
    monkeypatch.setattr(JointTrainer, "train_step", lambda _, batch: learned.append(batch) or {"total_loss": 1.0})
    for loss, entry in (("softmax", "target_seq"), ("bpr", "target_items")):
        learned.clear()
        trainer(loss=loss).train_epoch(rows, 3)
        assert sum(int((batch[entry] > 0).sum()) for batch in learned) == 24 * 9
        assert ("target_seq" in learned[0]) == (loss == "softmax")
    assert abs(len(rows.windowed()) - len(rows)) <= len(rows) / 4
    assert rows.windowed() is rows.windowed()


def test_a_model_without_features_takes_what_its_first_loader_brings(tmp_path, capsys, monkeypatch):
    train, valid, _ = loaders()
    content = Content(item_features(images=True), user_preferences())
    monkeypatch.setattr(type(train.source), "content", content)
    joint = JointTrainer(small())
    assert "retriever:" not in capsys.readouterr().out
    joint.set_training_stage("pretrain_retriever")
    joint.evaluate(valid, "retriever")
    assert list(joint.model.retriever.experts) == ["preference", "description", "image"]
    printed = capsys.readouterr().out
    assert "retriever: 3 experts (preference, description, image)" in printed
    assert (
        f"retriever scores on 24 valid rows: the target's rank among all {ITEMS} items, without the user's" in printed
    )
    told = JointTrainer(small(features=content.features, preferences=content.preferences))
    assert joint.model.state_dict().keys() == told.model.state_dict().keys()
    weights = joint.model.retriever.experts["description"].keys.project.weight
    held = weights.clone()
    assert joint.train_epoch(train, 0)["total_loss"] > 0 and not torch.equal(held, weights)  # its optimizer is new too
    joint.save_checkpoint(path := tmp_path / "checkpoint")
    again = JointTrainer(small())
    again.read_content(train)
    again.load_checkpoint(path)
    assert torch.equal(again.model.retriever.experts["description"].keys.project.weight, weights)


def test_the_line_says_which_experts_are_not_there_and_why(capsys):
    JointTrainer(small()).train_epoch(loaders()[0], 0)
    said = "it knows items by id alone, no text; no preference: encoder=None; no description: encoder=None; no image: "
    assert f"ur4rec: retriever: {said}encoder=None" in capsys.readouterr().out


def test_a_diverged_step_says_so():
    joint = trainer()
    with torch.no_grad():
        joint.model.sasrec.bias[3] = float("nan")
    with pytest.raises(ArtifactError, match="step 0 of pretrain_sasrec: the losses are"):
        joint.train_step(next(iter(loaders()[0])))


# Checkpoints

EPOCHS = {"pretrain_sasrec": 2, "pretrain_retriever": 2, "joint_finetune": 2, "end_to_end": 1}
SWITCHES = {
    "use_adaptive_alternating": True,
    "adaptive_min_steps": 2,
    "use_curriculum_learning": True,
    "use_memory_bank": True,
    "use_knowledge_distillation": True,
    "use_uncertainty_weighting": True,
}


class Killed(Exception):
    pass


def kill_after(writes: int, monkeypatch) -> None:
    """The process ends after so many checkpoints."""
    left = [writes]

    def save_and_die(loop) -> None:
        save(loop)
        left[0] -= 1
        if not left[0]:
            raise Killed

    save = epochs.Loop.save
    monkeypatch.setattr(epochs.Loop, "save", save_and_die)


@pytest.mark.parametrize("at", [1, 2, 4, 6])
def test_killed_and_resumed_ends_in_the_same_bits(at, tmp_path, monkeypatch):
    """Within a stage (1), at its last epoch (2, 4), and in the alternation (6)."""
    train, valid, test = loaders()
    whole = trainer(dropout=0.3, **SWITCHES)
    expected = fit_stages(whole, train, valid, EPOCHS, 0, tmp_path / "whole")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_after(at, patch)
        fit_stages(trainer(dropout=0.3, **SWITCHES), *loaders()[:2], EPOCHS, 0, tmp_path / "killed")
    second = trainer(dropout=0.3, **SWITCHES)
    assert fit_stages(second, *loaders()[:2], EPOCHS, 0, tmp_path / "killed") == expected
    assert (tmp_path / "whole" / BEST).read_bytes() == (tmp_path / "killed" / BEST).read_bytes()
    tensors, counters = second.state()
    for name, value in whole.state().tensors.items():
        assert torch.equal(value, tensors[name]), name
    assert counters == whole.state().counters
    assert second.evaluate(test) == whole.evaluate(test)


def test_best_weights_that_lack_a_tensor_are_not_gone_on_from(tmp_path, monkeypatch):
    def lose_one(path, key):
        tensors, header = read_tensors(path, key)
        del tensors[max(tensors)]
        return tensors, header

    monkeypatch.setattr("UR4Rec.models.stages.read_tensors", lose_one)
    says = rf"pretrain_sasrec/{BEST} cannot be loaded: it lacks the tensor .*put the file back, or remove {tmp_path}"
    with pytest.raises(ArtifactError, match=says):
        fit_stages(trainer(), *loaders()[:2], {"pretrain_sasrec": 1}, 0, tmp_path)


def test_no_stage_ends_below_where_it_began(tmp_path):
    joint = trainer(sasrec_lr=1.0)  # so that training ruins what it trains
    train, valid, _ = loaders()
    before = joint.evaluate(valid, scorer="sasrec")["ndcg@10"]
    result = fit_stages(joint, train, valid, {"pretrain_sasrec": 9}, 2, tmp_path)
    assert joint.evaluate(valid, scorer="sasrec")["ndcg@10"] >= before
    scores = [entry["ndcg@10"] for entry in result.curve]
    best_epoch = 1 + int(np.argmax(scores)) if max(scores) > before else 0
    assert len(scores) == min(best_epoch + 2, 9)  # patience 2


def test_a_checkpoint_of_other_settings_is_refused(tmp_path):
    trainer(use_memory_bank=True).save_checkpoint(tmp_path / "a")
    other = JointTrainer(small(features=item_features()))
    with pytest.raises(ArtifactError, match="saved by a trainer with other settings"):
        other.load_checkpoint(tmp_path / "a")
    (tmp_path / "b").write_bytes(b"junk")
    with pytest.raises(ArtifactError, match="b cannot be read"):
        other.load_checkpoint(tmp_path / "b")
    write_tensors(tmp_path / "c", {"x": torch.zeros(1)}, "other", {})
    with pytest.raises(ArtifactError, match="is no checkpoint of this trainer: its header has no 'training'"):
        other.load_checkpoint(tmp_path / "c")


def test_tensorboard_holds_the_losses(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    joint = trainer(tracker="tensorboard", log_dir=tmp_path)
    metrics = joint.train_epoch(loaders()[0], 0)
    events = EventAccumulator(str(tmp_path / "tensorboard" / "ur4rec")).Reload()
    (event,) = events.Scalars("pretrain_sasrec/total_loss")
    assert event.value == pytest.approx(metrics["total_loss"])


def test_the_ids_only_retriever_trains_too():
    joint = JointTrainer(small())
    joint.set_training_stage("end_to_end")
    assert np.isfinite(joint.train_epoch(loaders()[0], 0)["total_loss"])
