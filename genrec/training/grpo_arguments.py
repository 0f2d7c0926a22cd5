"""The section `rl` as arguments of TRL, and the steps it makes."""

from __future__ import annotations

from pathlib import Path

from transformers.integrations import is_deepspeed_zero3_enabled
from trl import GRPOConfig

from genrec.config import Rl, Run
from genrec.errors import ArtifactError
from genrec.launch import world_size
from genrec.training.arguments import common_arguments, framework_arguments, limit_to_one_gpu, split_step


def grpo_arguments(settings: Rl, run: Run, directory: Path, num_levels: int, num_prompts: int) -> GRPOConfig:
    """The section `rl` as GRPOConfig; `rl.trainer` has the last word."""
    micro = micro_batch(settings)
    knobs = common_arguments(settings, run, directory) | {
        "ddp_find_unused_parameters": False,
        "num_train_epochs": settings.num_epochs,
        "per_device_train_batch_size": micro,
        "per_device_eval_batch_size": settings.num_generations,
        "gradient_accumulation_steps": settings.batch_size // world_size() // micro,
        "num_generations": settings.num_generations,
        "max_completion_length": num_levels,
        "beta": settings.beta,
        "sync_ref_model": settings.sync_ref_model,
        "loss_type": "dapo" if settings.dapo else "grpo",
        "importance_sampling_level": "sequence" if settings.gspo else "token",
        "reward_weights": list(settings.reward_type.values()),
    }
    if settings.test_during_training:
        knobs |= {"eval_strategy": "steps", "load_best_model_at_end": True}
    arguments = GRPOConfig(**(knobs | framework_arguments("rl.trainer", settings.trainer)))
    if is_deepspeed_zero3_enabled():
        raise ArtifactError(
            "rl does not run under ZeRO-3, which deals the weights out; use config/accelerate/zero2.yaml or ddp.yaml"
        )
    limit_to_one_gpu(arguments)
    plan_steps(arguments, settings, num_prompts)
    return arguments


def micro_batch(settings: Rl) -> int:
    """Completions a forward pass of one process, so that passes of whole groups fill the step."""
    micro, fills = split_step(settings.batch_size, settings.micro_batch_size)
    if not fills or micro % settings.num_generations:
        raise ArtifactError(
            f"rl.batch_size {settings.batch_size} over {world_size()} processes is not a multiple of "
            f"{micro} completions a pass (rl.micro_batch_size) in groups of {settings.num_generations}"
        )
    return micro


def plan_steps(args: GRPOConfig, settings: Rl, num_prompts: int) -> None:
    """Warm-up, validation and log intervals, which rest on the number of steps.

    A checkpoint falls between two generations, so that a resumed run has none to remember.
    """
    prompts = args.generation_batch_size // settings.num_generations
    updates = args.num_iterations * args.steps_per_generation / args.gradient_accumulation_steps  # of one generation
    steps = args.max_steps if args.max_steps > 0 else int(num_prompts // prompts * updates * args.num_train_epochs)
    if steps < 1:
        raise ArtifactError(f"{num_prompts} prompts are fewer than one step takes ({prompts}); lower rl.batch_size")
    whole = max(1, round(updates))
    every = max(1, round(steps * settings.eval_step / whole)) * whole
    args.warmup_steps = settings.trainer.get("warmup_steps", round(steps * settings.warmup_ratio))
    args.eval_steps = args.save_steps = every
    args.logging_steps = settings.trainer.get("logging_steps", max(1, every // 4))
