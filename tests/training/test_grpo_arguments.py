"""The section rl as arguments of TRL, and what cannot be meant, named at once."""

import pytest

from genrec.config_checks import validate
from genrec.errors import ArtifactError, ConfigError
from genrec.training.grpo_arguments import grpo_arguments
from tests.training.small_rl import PROMPTS, configured


def test_loss_flags_reach_trl(tmp_path):
    def made(**rl):
        config = configured(tmp_path, **rl)
        return grpo_arguments(config.rl, config.run, tmp_path, 2, PROMPTS)

    assert (made().loss_type, made().importance_sampling_level) == ("grpo", "token")
    assert made(dapo=True).loss_type == "dapo"
    assert made(gspo=True).importance_sampling_level == "sequence"
    assert made(trainer={"loss_type": "dr_grpo"}).loss_type == "dr_grpo"
    assert made(reward_type={"ranking": 1, "diversity": 0.1}).reward_weights == [1, 0.1]


@pytest.mark.parametrize(
    ("rl", "message"),
    [
        ({"batch_size": 30}, "rl.batch_size 30 is not a multiple of rl.num_generations 4"),
        ({"reward_type": "rankin"}, "unknown reward 'rankin'; did you mean 'ranking'"),
        ({"temperature": 0.5}, "rl.temperature 0.5 and rl.beam_search True exclude each other"),
        ({"sync_ref_model": True, "beta": 0}, "rl.sync_ref_model True and rl.beta 0 exclude each other"),
        ({"dapo": True, "gspo": True}, "exclude each other"),
        ({"tasks": {"sid_to_sid": 0}}, "rl.tasks has no task"),
        ({"trainer": {"top_p": 0.9}}, "rl.trainer.top_p would do nothing"),
        ({"trainer": {"beta": 0.9}}, "rl.trainer.beta is set by rl.beta"),
        ({"trainer": {"eval_steps": 5}}, "rl.trainer.eval_steps is set by rl.eval_step"),
        ({"trainer": {"metric_for_best_model": "eval_hr@10"}}, "is set by the stage itself: NDCG@10 of valid rows"),
        ({"trainer": {"epsilom": 0.9}}, "unknown key 'rl.trainer.epsilom'.*did you mean 'epsilon'"),
    ],
)
def test_what_cannot_be_meant_is_named_at_once(tmp_path, rl, message):
    with pytest.raises(ConfigError, match=message):
        configured(tmp_path, **rl)


def test_rewards_by_name_list_or_weight(tmp_path):
    assert configured(tmp_path, reward_type="rule, prefix").rl.reward_type == {"rule": 1.0, "prefix": 1.0}
    assert configured(tmp_path, reward_type={"rule": 2}).rl.reward_type == {"rule": 2.0}


def test_zero_3_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("genrec.training.grpo_arguments.is_deepspeed_zero3_enabled", lambda: True)
    with pytest.raises(ArtifactError, match="rl does not run under ZeRO-3"):
        config = validate({"run": {"device": "cpu"}})
        grpo_arguments(config.rl, config.run, tmp_path, 3, 1000)
