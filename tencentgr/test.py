"""Is everything here that training needs, and does a model take a step? Ends with 0 if so.

cd tencentgr && python test.py
"""

from __future__ import annotations

from genrec.signals import exit_on_signals

if __name__ == "__main__":
    exit_on_signals()  # before the imports below

import importlib
import tempfile
from collections.abc import Callable
from pathlib import Path

from genrec.cli import call
from genrec.commandline import parse
from tencentgr.options import check_program

PACKAGES = ("torch", "numpy", "faiss", "safetensors", "pydantic", "yaml", "tqdm")
LOSSES = ("bce", "infonce", "sampled", "full")


def main() -> None:
    checks: list[Callable[[], str]] = [packages, device, data, *(one_batch(loss) for loss in LOSSES)]
    failed = [check.__name__ for check in checks if not passes(check)]
    print(
        f"\n{len(checks) - len(failed)} of {len(checks)} passed" + (f"; failed: {', '.join(failed)}" if failed else "")
    )
    raise SystemExit(bool(failed))


def passes(check: Callable[[], str]) -> bool:
    try:
        said = check()
    except Exception as error:  # whatever is wrong with the environment is the answer
        print(f"FAILED  {check.__name__}: {type(error).__name__}: {error}")
        return False
    print(f"ok      {check.__name__}: {said}")
    return True


def packages() -> str:
    modules = {name: importlib.import_module(name) for name in PACKAGES}
    return ", ".join(f"{name} {getattr(module, '__version__', '')}".strip() for name, module in modules.items())


def device() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else f"cpu, {torch.get_num_threads()} thread(s)"


def sample(directory: str):
    from tencentgr.dataset import load_data
    from tencentgr.entries import locate_source
    from tencentgr.generator import write_sample

    write_sample(Path(directory), num_users=60, num_items=60, mm_emb_id=("81",))
    return load_data(locate_source(directory))


def data() -> str:
    with tempfile.TemporaryDirectory() as directory:
        data = sample(directory)
    return f"{len(data.sequences)} sequences, {data.schema.num_items} items written, converted and read back"


def one_batch(loss: str) -> Callable[[], str]:
    def check() -> str:
        return forward_and_backward(loss)

    check.__name__ = f"forward and backward, {loss}"
    return check


def forward_and_backward(loss: str) -> str:
    """Ten steps on one batch: every weight has a finite gradient, and the loss falls."""
    import torch

    from tencentgr.assembly import make_objective, make_optimizer, shape_of
    from tencentgr.dataset import SequenceDataset, all_rows, collate, with_target
    from tencentgr.model import TencentGR
    from tencentgr.options import parse_strict
    from tencentgr.ranking import trim

    flags = "--use_adaptive_similarity --dropout 0 --hidden_size 16 --learning_rate 0.01".split()
    flags += ["--num_negatives", "4"] if loss in ("bce", "sampled") else []
    options = parse_strict(["--loss", loss, *flags])
    with tempfile.TemporaryDirectory() as directory:
        data = sample(directory)
    rows = with_target(data, all_rows(data))
    torch.manual_seed(0)
    model = TencentGR(shape_of(options), data.schema).use(data.items, data.users)
    objective = make_objective(options, model, data, rows)
    batch = trim(collate(SequenceDataset(data, rows, options.max_history).__getitems__(list(range(32)))))
    optimizer = make_optimizer(options, objective)
    losses = []
    for _ in range(10):
        torch.manual_seed(0)  # the same draws at each step, so that the losses can be compared
        optimizer.zero_grad()
        loss = objective(batch)
        loss.backward()
        lacking = [name for name, weight in objective.named_parameters() if weight.grad is None]
        assert not lacking, f"no gradient for {lacking}"
        assert all(weight.grad.isfinite().all() for weight in objective.parameters()), "a gradient is no number"
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0], f"the loss does not fall: {losses[0]:.4f} to {losses[-1]:.4f}"
    return f"loss {losses[0]:.4f} to {losses[-1]:.4f} in 10 steps"


def run() -> None:
    parse(check_program(__doc__))
    main()


if __name__ == "__main__":
    call(run)
