import pytest
import torch

from genrec.errors import ArtifactError
from genrec.runtime.device import pick_device, pick_devices


@pytest.fixture
def launch(monkeypatch):
    """A machine with that many GPUs, and the variables of a launch."""

    def begin(gpus: int, processes: int = 1, local: int = 0) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setenv("WORLD_SIZE", str(processes))
        monkeypatch.setenv("LOCAL_RANK", str(local))

    return begin


@pytest.mark.parametrize(
    ("name", "gpus", "processes", "local", "wanted"),
    [
        ("auto", 0, 1, 0, "cpu"),
        ("auto", 2, 1, 0, "cuda:0"),
        ("cuda:1", 2, 1, 0, "cuda:1"),
        ("auto", 2, 2, 1, "cuda:1"),
        ("cuda", 2, 2, 1, "cuda:1"),
        ("cuda:0", 2, 2, 1, "cuda:1"),  # two processes never share what one flag names
        ("cpu", 2, 2, 1, "cpu"),
    ],
)
def test_every_process_has_a_device_of_its_own(name, gpus, processes, local, wanted, launch):
    launch(gpus, processes, local)
    assert pick_device(name) == torch.device(wanted)


def test_a_device_that_is_not_there_is_named_by_its_flag(launch):
    launch(0)
    with pytest.raises(ArtifactError, match="^--device is cuda:1, but torch sees no GPU here"):
        pick_device("cuda:1", "--device")
    for picked in (pick_device, lambda name: pick_devices(name, 1)):
        with pytest.raises(ArtifactError, match="^run.device is 'gpu'; it can be auto"):
            picked("gpu")


def test_workers_on_every_gpu_or_as_many_as_asked_on_the_cpu(launch):
    launch(3)
    assert pick_devices("auto", 2) == ("cuda:0", "cuda:1", "cuda:2") and pick_devices("cuda:1", 2) == ("cuda:1",)
    launch(0)
    assert pick_devices("auto", 2) == ("cpu", "cpu")
