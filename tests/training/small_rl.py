"""The knobs and prompts of a small GRPO run, for tests of RL."""

from genrec.config_checks import validate
from genrec.training.rl_start import make_prompts

GROUP, PROMPTS = 4, 16
BASE = {
    "num_generations": GROUP,
    "batch_size": 16,
    "micro_batch_size": 16,
    "sample_train": True,
    "sample_size": PROMPTS,
    "learning_rate": 1e-3,
    "eval_step": 0.5,
    "beta": 0.01,
    "reward_type": "prefix",
    "num_epochs": 1,
    "warmup_ratio": 0,
}


def configured(directory, **rl):
    return validate({"run": {"dir": str(directory), "device": "cpu"}, "data": {"source": "toy"}, "rl": BASE | rl})


def prompts_of(config, data, texts, tokenizer):
    return make_prompts(data, texts, tokenizer, 200, config.rl, config.run.seed)
