import pytest
import torch

from genrec.errors import ArtifactError
from genrec.runtime import device
from genrec.runtime.device import SMALL, pick_device, pick_devices, pick_dtype


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


@pytest.mark.parametrize(
    ("flags", "weights", "asked", "wanted"),
    [
        ("fpu avx512_bf16", SMALL, None, torch.bfloat16),
        ("fpu amx_bf16 amx_tile", SMALL, None, torch.bfloat16),
        ("fpu avx512_bf16", SMALL - 1, None, torch.float32),  # small models stay as they were, bit for bit
        ("fpu avx512_vnni", SMALL, None, torch.float32),
        (None, SMALL, None, torch.float32),
        ("fpu", 1, "bfloat16", torch.bfloat16),
        ("fpu avx512_bf16", SMALL, "float32", torch.float32),
    ],
)
def test_large_models_take_bfloat16_where_the_cpu_multiplies_it(tmp_path, monkeypatch, flags, weights, asked, wanted):
    if flags is not None:
        (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: {flags}\nbugs\t: x\n")
    monkeypatch.setattr(device, "CPU_INFO", tmp_path / "cpuinfo")
    assert pick_dtype(asked, torch.device("cpu"), weights) == wanted


@pytest.mark.parametrize(("supported", "wanted"), [(True, torch.bfloat16), (False, torch.float32)])
def test_a_gpu_takes_bfloat16_where_it_can(monkeypatch, supported, wanted):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: supported)
    assert pick_dtype(None, torch.device("cuda"), 1) == wanted
    assert pick_dtype("float32", torch.device("cuda"), 1) == torch.float32
