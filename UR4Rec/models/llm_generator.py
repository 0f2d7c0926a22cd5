"""Texts about users (from their train prefix alone) and items, by a language model; an optional step.

reads   MovieLens as UR4Rec/data/dataset_loader.py does, or with --run_dir the data of a run of the main pipeline
writes  <output_dir>/{user_preferences.json item_descriptions.json made_of.json llm_cache/answers.jsonl}, and
        user_preference_snapshots.json: texts of earlier moments (--snapshots, 0 for none), which training may read

    export DASHSCOPE_API_KEY=...        # or OPENAI_API_KEY
    python UR4Rec/models/llm_generator.py --num_users 10 --num_items 50
    python UR4Rec/models/llm_generator.py --skip_items --base_url http://localhost:8000/v1 --model_name my-model
    python UR4Rec/models/llm_generator.py --backend local --model_name DIR
    python UR4Rec/models/llm_generator.py --backend none      # plain sentences, no model

Every answer is kept at once, so a run can be killed and given again. A run for some users or items adds to the files.
Exit code 1: some texts could not be had; the files hold the others, and the same command asks for those again.
"""

from __future__ import annotations

from genrec.signals import exit_on_signals

if __name__ == "__main__":
    exit_on_signals()  # before the imports below

from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from genrec.artifacts import write_json
from genrec.cli import run_program
from genrec.data.given_texts import MADE_OF, SNAPSHOTS
from genrec.errors import exit_on_failure, fail
from genrec.lock import only_writer
from UR4Rec import prompts
from UR4Rec.data.dataset_loader import MovieLensDataLoader, require_sequences
from UR4Rec.data.generated import (
    ITEM_DESCRIPTIONS,
    USER_PREFERENCES,
    TextSource,
    check_origin,
    merge_snapshots,
    merge_texts,
    movielens_source,
    prepared_source,
)
from UR4Rec.models.llm_asking import Patience, ask_all
from UR4Rec.models.llm_backends import (
    DASHSCOPE_URL,
    Backend,
    local_backend,
    name_endpoint,
    name_local_model,
    openai_backend,
)
from UR4Rec.models.llm_cache import Answer, AnswerCache, Question, read_answers
from UR4Rec.options import GeneratorOptions, read_options

CACHE = Path("llm_cache", "answers.jsonl")
CHARACTERS_A_TOKEN = 4  # for the estimate, of English
LISTED = {"qwen-flash": (0.00015, 0.0015)}  # yuan for 1,000 tokens in and out, as DashScope listed them late in 2025


class TextJob(NamedTuple):
    """A text that is wanted."""

    file: str  # which output it belongs to
    id: str
    question: Question
    events: int | None = None  # of a snapshot

    def __str__(self) -> str:
        moment = f" after {self.events} events" if self.events else ""
        return f"{self.file.removesuffix('.json')} {self.id}{moment}"


def main() -> None:
    options = read_options("llm_generator.py", __doc__, GeneratorOptions)
    with exit_on_failure(options.output_dir), nullcontext() if options.dry_run else only_writer(options.output_dir):
        source = load_source(options)
        failed = write_plain_texts(options, source) if options.backend == "none" else generate_texts(options, source)
    if failed:
        fail(f"{failed} texts could not be had; the same command asks for them again")


def write_plain_texts(options: GeneratorOptions, source: TextSource) -> int:
    """The sentences that need no model; items keep the description they have."""

    def say(user: str, events: int | None = None) -> str:
        return prompts.plain_preference(source.history(user, events))

    users, items = choose(options, source)
    moments = {user: source.moments(user, options.snapshots) for user in users}
    described = {item: source.items[item]["description"] for item in items}
    texts = {
        USER_PREFERENCES: {user: say(user) for user in users},
        SNAPSHOTS: {user: {n: say(user, n) for n in events} for user, events in moments.items() if events},
        ITEM_DESCRIPTIONS: {item: text for item, text in described.items() if text},
    }
    origin = {**describe_source(source), "backend": "none"}
    check_origin(options.output_dir, origin)
    print(f"{len(users):,} users and {len(items):,} items: plain sentences, no model is asked", flush=True)
    if not options.dry_run:
        write_outputs(options.output_dir, origin, texts)
    return 0


def generate_texts(options: GeneratorOptions, source: TextSource) -> int:
    """Ask for what the cache does not hold, write what there is; -> how many texts are missing."""
    origin = describe_source(source) | {
        "backend": options.backend,
        "model": options.model_name,
        "temperature": options.temperature,
        "endpoint": endpoint_of(options),
    }
    check_origin(options.output_dir, origin)
    jobs, path = list(make_jobs(options, source)), options.output_dir / CACHE
    if options.dry_run:
        print(estimate(jobs, unanswered(jobs, read_answers(path)), options), flush=True)
        return 0
    with AnswerCache(path) as cache:
        if cache.dropped:
            print(f"{path}: {cache.dropped:,} lines are no answers and are left out", flush=True)
        if cache.nameless:
            print(
                f"{path}: {cache.nameless:,} answers name no endpoint and may be another model's; they are left out",
                flush=True,
            )
        open_jobs = unanswered(jobs, cache.answers)
        print(estimate(jobs, open_jobs, options), flush=True)
        failures = ask_for(open_jobs, cache, options)
        write_outputs(options.output_dir, origin, texts_by_file(jobs, cache))
        asked = [cache.get(job.question) for job in open_jobs if job not in failures]
    print(spent(asked, options), flush=True)
    for job, why in failures.items():
        print(f"no text: {job}: {why}", flush=True)
    return len(failures)


def unanswered(jobs: list[TextJob], answers: dict[str, Answer]) -> list[TextJob]:
    return [job for job in jobs if job.question.key not in answers]


def ask_for(jobs: list[TextJob], cache: AnswerCache, options: GeneratorOptions) -> dict[TextJob, str]:
    """Fill the cache; -> why some answers did not come."""
    if not jobs:
        return {}
    patience = Patience(options.concurrency, options.max_retries, options.backoff, options.requests_per_minute)
    failures = ask_all([job.question for job in jobs], make_backend(options), cache, patience)
    return {job: failures[job.question] for job in jobs if job.question in failures}


def texts_by_file(jobs: list[TextJob], cache: AnswerCache) -> dict[str, dict]:
    """What is answered by now: {file: {id: text}}, of snapshots {file: {user: {events: text}}}."""
    texts: dict[str, dict] = {}
    for job in jobs:
        if answer := cache.get(job.question):
            by_id = texts.setdefault(job.file, {})
            if job.events is None:
                by_id[job.id] = answer.text
            else:
                by_id.setdefault(job.id, {})[job.events] = answer.text
    return texts


def choose(options: GeneratorOptions, source: TextSource) -> tuple[list[str], list[str]]:
    """The first so many users and items."""
    users = [] if options.skip_users else list(islice(source.histories, options.num_users))
    items = [] if options.skip_items else list(islice(source.items, options.num_items))
    return users, items


def endpoint_of(options: GeneratorOptions) -> str:
    return name_local_model(options.model_name) if options.backend == "local" else name_endpoint(options.base_url)


def make_jobs(options: GeneratorOptions, source: TextSource) -> Iterator[TextJob]:
    endpoint = endpoint_of(options)

    def question(prompt: str, max_tokens: int) -> Question:
        return Question(prompts.SYSTEM, prompt, options.model_name, options.temperature, max_tokens, endpoint)

    users, items = choose(options, source)
    for user in users:
        prompt = prompts.preference_prompt(source.history(user))
        yield TextJob(USER_PREFERENCES, user, question(prompt, prompts.PREFERENCE_TOKENS))
        for events in source.moments(user, options.snapshots):
            prompt = prompts.preference_prompt(source.history(user, events))
            yield TextJob(SNAPSHOTS, user, question(prompt, prompts.PREFERENCE_TOKENS), events)
    for item in items:
        prompt = prompts.description_prompt(source.items[item])
        yield TextJob(ITEM_DESCRIPTIONS, item, question(prompt, prompts.DESCRIPTION_TOKENS))


def make_backend(options: GeneratorOptions) -> Backend:
    if options.backend == "local":
        return local_backend(options.model_name, options.device)
    return openai_backend(options.base_url, options.timeout, options.insecure_endpoint)


def estimate(jobs: list[TextJob], open_jobs: list[TextJob], options: GeneratorOptions) -> str:
    """What a run will ask for and cost, before it does."""
    characters = sum(len(job.question.system) + len(job.question.prompt) for job in open_jobs)
    tokens_in = characters // CHARACTERS_A_TOKEN
    tokens_out = sum(job.question.max_tokens for job in open_jobs)
    kinds = Counter(job.file for job in jobs)
    snapshots = f" with {kinds[SNAPSHOTS]:,} snapshots" if kinds[SNAPSHOTS] else ""
    return (
        f"{kinds[USER_PREFERENCES]:,} users{snapshots} and {kinds[ITEM_DESCRIPTIONS]:,} items: "
        f"{len(jobs) - len(open_jobs):,} answers are in the cache, "
        f"{len(open_jobs):,} to ask {options.model_name} for; "
        f"about {tokens_in:,} tokens in, at most {tokens_out:,} out, {cost(tokens_in, tokens_out, options)}"
    )


def spent(answers: list[Answer], options: GeneratorOptions) -> str:
    tokens_in, tokens_out = sum(a.tokens_in for a in answers), sum(a.tokens_out for a in answers)
    counted = f"{tokens_in:,} tokens in, {tokens_out:,} out, {cost(tokens_in, tokens_out, options)}"
    return f"{len(answers):,} answers: {counted}"


def cost(tokens_in: int, tokens_out: int, options: GeneratorOptions) -> str:
    """By the prices given; else by the listed ones of a model of DashScope's."""
    if options.price_in or options.price_out:
        return f"cost {price_of(tokens_in, tokens_out, options.price_in, options.price_out):.4f}"
    if options.model_name in LISTED and endpoint_of(options) == name_endpoint(DASHSCOPE_URL):
        listed = price_of(tokens_in, tokens_out, *LISTED[options.model_name])
        return f"cost {listed:.4f} yuan by the listed price of {options.model_name} (yours: --price_in, --price_out)"
    return "cost unknown (--price_in, --price_out)"


def price_of(tokens_in: int, tokens_out: int, price_in: float, price_out: float) -> float:
    """Prices of 1,000 tokens each."""
    return tokens_in / 1000 * price_in + tokens_out / 1000 * price_out


def write_outputs(directory: Path, origin: dict, texts: dict[str, dict]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    check_origin(directory, origin)
    write_json(directory / MADE_OF, origin)
    for file, by_id in texts.items():
        if by_id:
            merge = merge_snapshots if file == SNAPSHOTS else merge_texts
            print(f"{directory / file}: {merge(directory / file, by_id):,} texts", flush=True)


def describe_source(source: TextSource) -> dict[str, str]:
    origin = {"source": source.name, "data": source.fingerprint, "prompts": prompts.fingerprint()}
    return origin | ({"data_artifact": source.data_artifact} if source.data_artifact else {})


def load_source(options: GeneratorOptions) -> TextSource:
    if options.run_dir:
        return run_source(options.run_dir)
    loader = MovieLensDataLoader(options.data_dir, options.dataset, options.plots)
    print(loader.report(), flush=True)
    item_metadata, user_sequences, _ = loader.load()
    require_sequences(user_sequences)
    return movielens_source(options.dataset, item_metadata, user_sequences)


def run_source(run_dir: Path) -> TextSource:
    """Items and train events of a run's data artifact, whatever shop they are of."""
    from genrec.data.sequences import mark_seen_in_training
    from genrec.store import RunStore

    store = RunStore(run_dir)
    data_artifact = store.manifest("data").fingerprint
    sequences = store.sequences()
    seen = mark_seen_in_training(sequences, store.splits())
    return prepared_source(store.dataset, store.catalog(), sequences, seen, data_artifact)


if __name__ == "__main__":
    run_program(__file__, main)
