"""What would end a job on a cluster late is found before it begins, in one line."""

import importlib.util
import socket
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from genrec import __version__
from genrec.config import Run
from genrec.config_checks import validate
from genrec.engine.cluster import Node, cluster, connect, find_fault, import_ray, marked, require_answer, require_room
from genrec.errors import ConfigError

OWN = Node("here", "2.60.0", "3.11.7", "1.0")
needs_ray = pytest.mark.skipif(
    not importlib.util.find_spec("ray"), reason="ray is not installed: pip install 'genrec[ray]'"
)


def test_what_only_ray_reads_is_refused_without_it():
    for key, value in {"workers": 2, "ray_address": "auto", "worker_cpus": 4}.items():
        with pytest.raises(ConfigError, match=f"run.{key} {value} would do nothing for run.engine local"):
            validate({"run": {key: value}})
        assert getattr(validate({"run": {key: value, "engine": "ray"}}).run, key) == value


def test_a_missing_extra_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"which is not installed: pip install 'genrec\[ray\]'"):
        import_ray()


def test_no_cluster_at_the_address_is_said_at_once():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}"):
        with pytest.raises(
            ConfigError, match=f"no Ray cluster answers at run.ray_address {address} .Connection refused"
        ):
            require_answer(address)
    with pytest.raises(ConfigError, match="must be HOST:PORT, ray://HOST:PORT or auto, found 'cluster'"):
        require_answer("cluster")


class AuthenticationError(Exception):
    """As Ray says it: by itself where no token is given, as the cause where another one is."""


@pytest.mark.parametrize("given", ["none", "another"])
def test_a_cluster_that_asks_for_its_token_says_where_it_is_given(given):
    def init(**asked):
        if given == "none":
            raise AuthenticationError("no authentication token was found")
        raise ConnectionError("Failed to connect") from RuntimeError("ray.exceptions.AuthenticationError: RPC error")

    ray = SimpleNamespace(init=init, exceptions=SimpleNamespace(RayError=AuthenticationError))
    with socket.create_server(("127.0.0.1", 0)) as there:
        address = f"127.0.0.1:{there.getsockname()[1]}"
        with pytest.raises(ConfigError, match=f"{address} takes nobody without its token: RAY_AUTH_MODE=token"):
            connect(ray, Run(engine="ray", ray_address=address))


def test_more_workers_than_cores_are_refused():
    require_room(4, Run(engine="ray", workers=2, worker_cpus=2))
    with pytest.raises(ConfigError, match="run.workers 3 with run.worker_cpus 2 need 6 cores, the cluster has 4"):
        require_room(4, Run(engine="ray", workers=3, worker_cpus=2))


@pytest.mark.parametrize(
    ("planted", "said"),
    [
        ({"ray": "2.50.0"}, "node other has Ray 2.50.0, this process Ray 2.60.0"),
        ({"python": "3.12.1"}, "node other has Python 3.12.1, this process Python 3.11.7"),
        ({"genrec": ""}, "node other cannot import genrec; install genrec 1.0 there"),
        ({"genrec": "0.9"}, "node other has genrec 0.9, this process 1.0"),
        ({"unseen": ("/runs",)}, "node other does not see /runs of here"),
    ],
)
def test_a_node_that_cannot_work_is_named_with_both_values(planted, said):
    node = OWN._replace(name="other")
    assert find_fault(node, OWN) == "" and said in find_fault(node._replace(**planted), OWN)


def test_marks_are_there_while_nodes_look_and_gone_after(tmp_path):
    with marked([tmp_path / "a", tmp_path / "a", tmp_path / "b"]) as marks:
        assert len(set(marks)) == 2 and all(Path(mark).exists() for mark in marks)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@needs_ray
@pytest.mark.slow
def test_two_nodes_are_looked_at_and_a_directory_that_one_does_not_see_is_named(tmp_path, monkeypatch):
    import ray
    from ray.cluster_utils import Cluster

    from genrec.engine import cluster as module

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        nodes.add_node(num_cpus=1)
        run = Run(engine="ray", ray_address=nodes.address, workers=2)
        with cluster(run, [tmp_path]) as connected:
            seen = module.look_at_nodes(connected, [str(tmp_path)])
            assert [(node.ray, node.genrec, node.unseen) for node in seen] == 2 * [(ray.__version__, __version__, ())]
        with pytest.raises(ConfigError, match="need 9 cores, the cluster has 2"):
            with cluster(run.model_copy(update={"workers": 9}), [tmp_path]):
                pass
        elsewhere = str(tmp_path / "elsewhere" / "mark")
        monkeypatch.setattr(module, "marked", lambda directories: nullcontext([elsewhere]))
        with pytest.raises(ConfigError, match=f"does not see {tmp_path}/elsewhere"):
            with cluster(run, [tmp_path]):
                pass
        assert not ray.is_initialized()
    finally:
        nodes.shutdown()
