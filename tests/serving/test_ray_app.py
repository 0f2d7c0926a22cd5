"""Two replicas by Ray Serve answer as one process does, and a changed `user_config` reloads both."""

import httpx
import pytest
import yaml

import genrec
from genrec.errors import ConfigError
from tests import ROOT
from tests.serving.serving_model import ids_of, point, wait_for

pytest.importorskip("ray.serve", reason="ray is not installed: pip install 'genrec[ray]'")

URL = "http://127.0.0.1:8156"


@pytest.fixture
def ray_file(place, tmp_path):
    """config/ray/serve.yaml for this run: two replicas, a file of events."""
    content = yaml.safe_load((ROOT / "config" / "ray" / "serve.yaml").read_text())
    content["http_options"]["port"] = int(URL.rpartition(":")[2])
    (application,) = content["applications"]
    application["args"] = {
        "run.dir": str(place),
        "model": "rl",
        "also": "item_knn",
        "events": str(tmp_path / "e.sqlite"),
    }
    (lists,) = application["deployments"]
    lists["autoscaling_config"] |= {"min_replicas": 2, "max_replicas": 2}
    lists["ray_actor_options"] = {"num_cpus": 0.1}
    return content


def test_what_is_rays_is_no_flag(served_run):
    from genrec.serving.ray_app import build

    with pytest.raises(ConfigError, match="port is Ray's"):
        build({"run.dir": str(served_run[0]), "port": 1})


@pytest.mark.slow
def test_two_replicas_answer_and_are_reloaded_together(ray_file, place, served_run, other_run):
    import ray
    from ray import serve
    from ray.serve.schema import ServeDeploySchema

    def deploy():
        from ray.serve.context import _get_global_client

        _get_global_client().deploy_apps(ServeDeploySchema.model_validate(ray_file), _blocking=True)

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        serve.start(http_options=ray_file["http_options"])
        deploy()
        first = httpx.post(f"{URL}/recommend", json={"user": "u5"}, timeout=60).json()
        alone = genrec.load(served_run[0], "rl", decoding="frontier").recommend(users=["u5"])
        assert ids_of(first) == alone["item_id"].to_list() and first["exact"]
        for number in range(8):
            answer = httpx.post(f"{URL}/events", json={"user": "guest", "items": ["B001"]}, timeout=60).json()
            assert answer["events"] == number + 1
        refused = httpx.post(f"{URL}/catalog/reload", timeout=60)
        assert refused.status_code == 409 and "user_config.turn" in refused.json()["detail"]
        point(place, other_run)
        ray_file["applications"][0]["deployments"][0]["user_config"]["turn"] = 2
        deploy()

        def versions():
            return {httpx.get(f"{URL}/catalog/status", timeout=60).json()["current"]["version"] for _ in range(16)}

        wait_for(60, lambda: first["version"] not in versions())
        assert len(versions()) == 1
    finally:
        serve.shutdown()
        ray.shutdown()
