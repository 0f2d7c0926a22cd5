"""The application as a deployment of Ray Serve, which starts replicas, restarts, scales and balances them.

    serve run config/ray/serve.yaml

Every replica loads the models and has a queue of its own. A reload reaches all by `user_config`: another `turn` in the
file and `serve deploy`, and each replica loads beside, checks and swaps; where that fails the old version goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from ray import serve

from genrec.errors import ConfigError
from genrec.serving.catalogue import Unchanged
from genrec.serving.service import Service
from genrec.stages.serve import Plan, build_app, prepare_logs, read_plan, require_extra

OF_RAY = ("host", "port", "workers")
RELOADS = "replicas are reloaded together: change user_config.turn in Ray's file, and `serve deploy` it"

log = logging.getLogger("genrec.serving")


def build(flags: Mapping[str, Any]) -> serve.Application:
    """The application of a file's `args`, which are flags of `genrec serve`."""
    for name in OF_RAY:
        if name in flags:
            raise ConfigError(f"{name} is Ray's: set http_options and num_replicas in its file, and take {name} out")
    require_extra()
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    return make_deployment(read_plan(words)).bind()


def make_deployment(plan: Plan) -> serve.Deployment:
    def build_replica() -> Any:
        prepare_logs()
        app = build_app(plan)
        app.app.state.service.elsewhere = RELOADS
        return app

    @serve.deployment(name="Lists")
    @serve.ingress(build_replica)
    class Lists:
        turn: Any = None

        async def reconfigure(self, config: Mapping[str, Any]) -> None:
            """Called by Ray at the start, and with every `user_config` after it."""
            before, self.turn = self.turn, config["turn"]
            service: Service = self.app.app.state.service  # pyright: ignore[reportAttributeAccessIssue]
            if before is not None and before != self.turn:
                await reload(service)

    return Lists


async def reload(service: Service) -> None:
    """An exception would have Ray end a replica that serves well."""
    try:
        await service.catalogue.reload()
    except Unchanged as error:
        service.watch.reloads.labels("failed").inc()
        log.error("%s", error)
    else:
        service.watch.reloads.labels("done").inc()
