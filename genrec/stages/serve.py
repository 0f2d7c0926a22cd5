"""Lists by HTTP: a process, or several behind one port, each with a decode thread that takes what is queued.

    genrec serve --run.dir outputs/quickstart
    genrec serve --model path/to/model --port 9000                    without the run: histories only
    genrec serve --run.dir outputs/quickstart --also sasrec,item_knn  requests may name these too
    genrec serve --run.dir outputs/quickstart --backend onnx-int8     by what genrec export made
    genrec serve --export path/to/export                              by ONNX Runtime, also where torch is not installed
    genrec serve --run.dir R --also sasrec --experiments e.yaml --slates logs    an A/B test of its models
    genrec serve --run.dir outputs/quickstart --workers 4             four processes behind the port
    GENREC_API_KEY=... genrec serve --run.dir R --host 0.0.0.0        beyond this machine

Reads a run or a model directory; writes the events that it is sent (--events: a file, or postgresql://HOST/DB). Lists
are proven to be the best, or said not to be (--evaluation.decoding frontier), unless a flag says beam. A browser shows
them at http://127.0.0.1:8000. SIGTERM answers what is under way and ends.
Needs `pip install 'genrec[serve]'`.
"""

from __future__ import annotations

import gc
import importlib.util
import ipaddress
import os
import signal
import sys
import tempfile
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genrec import artifacts
from genrec.commandline import (
    Command,
    Program,
    options_program,
    parse,
    parse_strict,
    plain_names,
    split_words,
    stage_program,
)
from genrec.errors import ArtifactError, ConfigError, exit_on_failure, exit_on_usage_error
from genrec.launch import note
from genrec.run_choice import is_run
from genrec.serving.settings import ServeOptions
from genrec.stages.ab import read_key
from genrec.stages.recommend import fetch_model, parse_run_flags, plan_load

if TYPE_CHECKING:
    from genrec.experiments.assignment import Experiment, Experiments
    from genrec.recommender import Recommender
    from genrec.serving.catalogue import Version
    from genrec.serving.events import EventStore
    from genrec.serving.experiment import ServedExperiment
    from genrec.serving.guard import Guard
    from genrec.serving.version_file import WorkerGroup

KEY = "GENREC_API_KEY"
SHORTEST_KEY = 16  # characters
TRUSTED_PROXIES = "FORWARDED_ALLOW_IPS"  # uvicorn's: whose X-Forwarded-For is believed
HEALTHY = 60  # seconds in which a worker says that it lives; loading a library may hold it up so long
ENDED = "ended; every request that was taken is answered"
BACKLOG = 2048  # connections that wait to be accepted, as uvicorn has it
KEEP_ALIVE = 75  # seconds that an idle connection stays: longer than proxies keep theirs, which is 60
EVENTS = "events.sqlite"
EXTRA = ("fastapi", "uvicorn", "prometheus_client", "limits", "rapidfuzz")


def main(argv: list[str] | None = None) -> None:
    argv = sys.argv[1:] if argv is None else argv
    if "--help" in argv or "-h" in argv:
        parse(replace(run_flags(), also=ServeOptions, also_heading="serve"), argv)
    plan = read_plan(argv)
    with exit_on_failure(Path(plan.options.events or "")):
        serve(plan)


@dataclass(frozen=True)
class Plan:
    """What a command line asks for; a worker process gets it as it is."""

    options: ServeOptions
    command: Command
    named: bool
    keys: list[bytes]


def run_flags() -> Program:
    return stage_program("genrec serve", __doc__, plain=plain_names(), switches=())


def read_plan(argv: list[str]) -> Plan:
    """A command line, checked as far as it can be before anything is loaded."""
    choices = options_program("genrec serve", __doc__, ServeOptions)
    with exit_on_usage_error():
        own, flags = split_words(choices, argv)
        options = choose_export(parse_strict(choices, own).config)
        keys = read_keys(options)
        require_key(options, keys)
        require_slates(options)
    command, named = parse_run_flags(run_flags(), options.model, flags)
    return Plan(options, command, named, keys)


def choose_export(options: ServeOptions) -> ServeOptions:
    """An export is a model directory, of which more is asked."""
    if options.export is None:
        return options
    if options.model is not None:
        raise ConfigError(f"--export {options.export} and --model {options.model} name two models; keep one")
    if not (options.export / artifacts.EXPORT).exists():
        raise ConfigError(
            f"--export {options.export} is no export (no {artifacts.EXPORT}); make one by genrec export, or "
            "name a model directory by --model"
        )
    return options.model_copy(update={"model": str(options.export)})


def read_keys(options: ServeOptions) -> list[bytes]:
    """The keys that requests may carry; none: every request is answered."""
    if options.api_key_file is not None:
        try:
            lines = options.api_key_file.read_text(encoding="ascii").split()
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or "it holds other than ASCII characters"
            raise ConfigError(f"--api_key_file {options.api_key_file} cannot be read: {reason}") from None
        where = f"--api_key_file {options.api_key_file}"
        if not lines:
            raise ConfigError(f"{where} holds no key; write one a line")
    else:
        lines, where = os.environ.get(KEY, "").split(), KEY
    if short := [line for line in lines if len(line) < SHORTEST_KEY or not line.isascii()]:
        raise ConfigError(
            f"a key of {where} has {len(short[0])} characters; it takes {SHORTEST_KEY} or more of ASCII: "
            "openssl rand -hex 32"
        )
    return [line.encode() for line in lines]


def require_key(options: ServeOptions, keys: list[bytes]) -> None:
    if keys or options.open or is_loopback(options.host):
        return
    raise ConfigError(
        f"--host {options.host} is seen beyond this machine, and there is no API key; set {KEY} or --api_key_file F, "
        "or say --open True"
    )


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name, which may lead anywhere
        return False


def require_slates(options: ServeOptions) -> None:
    if options.experiments is not None and options.slates is None:
        raise ConfigError(f"--experiments {options.experiments} needs --slates DIR, where its answers are logged")
    for name in ("slates", "user_key"):
        if options.experiments is None and getattr(options, name) is not None:
            raise ConfigError(f"--{name} {getattr(options, name)} is read with --experiments FILE only; name both")


def serve(plan: Plan) -> None:
    require_extra()
    fetch_model(plan.options.model, plan.options.backend, plan.command, plan.options.also)
    from genrec.serving.experiment import read_experiment

    if plan.options.experiments:
        read_experiment(plan.options.experiments)  # before models are loaded
    if plan.options.workers > 1:
        serve_by_workers(plan)
    else:
        run_server(plan)


def build_app(plan: Plan, group: WorkerGroup | None = None) -> Guard:
    """Load what is to be served, say so, and put the application around it."""
    from genrec.serving.app import make_app
    from genrec.serving.catalogue import Catalogue
    from genrec.serving.experiment import read_experiment

    options = plan.options
    experiments = read_experiment(options.experiments) if options.experiments else None
    place, model, asked = plan_load(options.model, options.backend, plan.command, plan.named)
    asked = {"batch_size": options.max_batch, "decoding": "frontier" if has_torch() else "beam"} | asked
    models, origin = [model, *options.also], group and group.origin()
    catalogue = Catalogue(Path(place), lambda where: load_models(where, models, asked), origin)
    is_first = group is None or group.join(catalogue)
    if is_first:
        note("serve", describe_version(catalogue.current, place))
        if not has_torch():
            note("serve", "torch, which proves lists, is not installed: they come from beams, and are not proven")
    store = open_events(options, place)
    experiment = open_experiment(options, experiments, catalogue.current, is_first) if experiments else None
    return make_app(options, catalogue, store, plan.keys, experiment, group)


def has_torch() -> bool:
    """An install for exports alone has none."""
    return importlib.util.find_spec("torch") is not None


def describe_version(version: Version, place: Path | str) -> str:
    return f"{', '.join(version.models)} of {place}, {version.listable:,} items, version {version.name}"


def configure(options: ServeOptions) -> dict[str, Any]:
    """uvicorn's settings."""
    return dict(
        host=options.host,
        port=options.port,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=TRUSTED_PROXIES in os.environ,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE,
        limit_concurrency=options.max_connections,
        timeout_graceful_shutdown=int(options.drain) or None,
    )


def serve_by_workers(plan: Plan) -> None:
    """The port is bound here, and each worker loads and answers."""
    from genrec.serving.version_file import WorkerGroup
    from genrec.serving.workers import WorkerConfig, run_workers

    options = plan.options
    place, _, _ = plan_load(options.model, options.backend, plan.command, plan.named)
    open_events(options, place).close()  # made once, before several open it
    with tempfile.TemporaryDirectory(prefix="genrec-serve-") as directory:
        group = WorkerGroup(Path(directory))
        config = WorkerConfig(
            partial(build_worker, plan, group.directory),
            factory=True,
            workers=options.workers,
            timeout_worker_healthcheck=HEALTHY,
            prepare=prepare_process,
            **configure(options),
        )
        bound = bind(config)
        run_workers(config, bound, group, lambda: announce(bound, options.workers, bool(plan.keys)))
    note("serve", ENDED)


def build_worker(plan: Plan, directory: Path) -> Guard:
    """The application, in a process of uvicorn's supervisor."""
    from genrec.serving.version_file import WorkerGroup
    from genrec.serving.workers import end_worker

    group = WorkerGroup(directory)
    try:
        app = build_app(plan, group)
    except Exception as error:
        end_worker(group, error)
    spare_collector()
    return app


def spare_collector() -> None:
    """What is loaded by now stays: Python's cyclic collector need not go through it, for which all answers wait."""
    gc.collect()
    gc.freeze()


def require_extra() -> None:
    missing = [name for name in EXTRA if not importlib.util.find_spec(name)]
    if missing:
        raise ArtifactError(f"the server needs {', '.join(missing)}; run: pip install 'genrec[serve]'")


def load_models(place: Path | str, models: list[str | None], asked: dict[str, Any]) -> list[Recommender]:
    from genrec.loading import load

    return [load(place, model, **asked) for model in models]


def open_events(options: ServeOptions, place: Path | str) -> EventStore:
    """Beside the stages of a run; a model alone may lie where nobody writes."""
    from genrec.serving.events import open_store

    return open_store(options.events or (Path(place) / EVENTS if is_run(Path(place)) else Path(EVENTS)))


def open_experiment(
    options: ServeOptions, experiments: Experiments, version: Version, is_first: bool = True
) -> ServedExperiment:
    """The experiment with its log, where this version can answer for every arm."""
    from genrec.experiments.log import SlateLog
    from genrec.serving.experiment import ServedExperiment, check_arms

    assert options.slates is not None, "required by require_slates"
    check_arms(experiments, version, options.max_k)
    try:
        log = SlateLog(options.slates, experiments, user_key=read_key(options.user_key))
    except OSError as error:
        reason = f"{error.strerror or error}; name another directory"
        raise ArtifactError(f"--slates {options.slates} cannot be written: {reason}") from None
    for name, experiment in experiments.by_name.items() if is_first else ():
        note("serve", f"experiment {name}: {describe_arms(experiment)}; answers are logged in {options.slates}")
    return ServedExperiment(experiments, log)


def describe_arms(experiment: Experiment) -> str:
    if experiment.interleave:
        return f"{' and '.join(experiment.arms)} interleaved"
    return ", ".join(f"{name} {share:g}" for name, share in experiment.shares.items())


def prepare_process() -> None:
    signal.signal(signal.SIGTERM, let_pass)  # uvicorn drains, and then raises the signal again
    prepare_logs()


def let_pass(number: int, frame: Any) -> None:
    """No end by a signal: what is registered for the end of the process is to run."""


def prepare_logs() -> None:
    """Access lines and failures go to stderr, each as it is; figures come without the moments of their creation."""
    import logging

    from prometheus_client import disable_created_metrics

    disable_created_metrics()
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(message)s"))
    for name, level in (("genrec.access", logging.INFO), ("genrec.serving", logging.INFO), ("uvicorn", logging.ERROR)):
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(level)
        logger.propagate = False


def run_server(plan: Plan) -> None:
    """Bind, say where, answer until SIGTERM or Ctrl-C, drain."""
    import uvicorn

    prepare_process()
    config = uvicorn.Config(build_app(plan), **configure(plan.options))
    spare_collector()
    bound = bind(config)
    announce(bound, 1, bool(plan.keys))
    try:
        uvicorn.Server(config).run([bound])
    except KeyboardInterrupt:
        pass  # Ctrl-C drains like SIGTERM
    note("serve", ENDED)


def announce(bound: Any, workers: int, guarded: bool) -> None:
    """Say where. Who reads it may ask at once: until uvicorn accepts, connections wait in the kernel."""
    bound.listen(BACKLOG)
    host, port = bound.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    by = f"by {workers} workers, " if workers > 1 else ""
    key = "with" if guarded else "without"
    note("serve", f"http://{shown}:{port} ({by}{key} an API key); a browser shows lists there")


def bind(config: Any) -> Any:
    """A port that is taken is one line of ours."""
    import socket

    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    bound = socket.socket(family, proto=socket.IPPROTO_TCP)  # asyncio turns Nagle off of such alone
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((config.host, config.port))
    except OSError as error:
        raise ConfigError(f"cannot listen on {config.host} port {config.port}: {error.strerror}") from None
    return bound
