"""Texts about users (from their train prefix alone) and items, by a language model; an optional step.

reads   MovieLens as UR4Rec/data/dataset_loader.py does, or with --run_dir the data of a run of the main pipeline
writes  <output_dir>/{user_preferences.json item_descriptions.json made_of.json llm_cache/answers.jsonl}, and with
        --snapshots N user_preference_snapshots.json: texts of earlier moments, which training may read

    export DASHSCOPE_API_KEY=...        # or OPENAI_API_KEY
    python UR4Rec/models/llm_generator.py --num_users 10 --num_items 50
    python UR4Rec/models/llm_generator.py --skip_items --base_url http://localhost:8000/v1 --model_name my-model
    python UR4Rec/models/llm_generator.py --backend local --model_name DIR
    python UR4Rec/models/llm_generator.py --backend none      # plain sentences, no model

Every answer is kept at once, so a run can be killed and given again. A run for some users or items adds to the files.
Exit code 1: some texts could not be had; the files hold the others, and the same command asks for those again.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from genrec.artifacts import write_json
from genrec.data.given_texts import MADE_OF, SNAPSHOTS
from genrec.errors import exit_on_failure, fail
from UR4Rec import prompts
from UR4Rec.data.dataset_loader import PLACES, MovieLensDataLoader
from UR4Rec.data.generated import (
    ITEM_DESCRIPTIONS,
    USER_PREFERENCES,
    Source,
    check_same_making,
    merge_snapshots,
    merge_texts,
    movielens_source,
    prepared_source,
)
from UR4Rec.models.llm_asking import Patience, ask_all
from UR4Rec.models.llm_backends import Backend, local_backend, openai_backend
from UR4Rec.models.llm_cache import Answer, AnswerCache, Question, known_answers

CACHE = Path("llm_cache", "answers.jsonl")
CHARACTERS_A_TOKEN = 4  # for the estimate, of English


class Job(NamedTuple):
    file: str  # which output it belongs to
    id: str
    question: Question
    events: int | None = None  # of a snapshot

    def __str__(self) -> str:
        moment = f" after {self.events} events" if self.events else ""
        return f"{self.file.removesuffix('.json')} {self.id}{moment}"


def main() -> None:
    options = parse_options()
    with exit_on_failure(options.output_dir):
        source = load_source(options)
        failed = plain(options, source) if options.backend == "none" else generate(options, source)
    if failed:
        fail(f"{failed} texts could not be had; the same command asks for them again")


def plain(options: argparse.Namespace, source: Source) -> int:
    """The sentences that need no model; items keep the description they have."""

    def say(user: str, events: int | None = None) -> str:
        return prompts.plain_preference(source.history(user, events))

    users, items = chosen(options, source)
    moments = {user: source.moments(user, options.snapshots) for user in users}
    described = {item: source.items[item]["description"] for item in items}
    texts = {
        USER_PREFERENCES: {user: say(user) for user in users},
        SNAPSHOTS: {user: {n: say(user, n) for n in found} for user, found in moments.items() if found},
        ITEM_DESCRIPTIONS: {item: text for item, text in described.items() if text},
    }
    made_of = {**describe_source(source), "backend": "none"}
    check_same_making(options.output_dir, made_of)
    print(f"{len(users):,} users and {len(items):,} items: plain sentences, no model is asked", flush=True)
    if not options.dry_run:
        write_outputs(options.output_dir, made_of, texts)
    return 0


def generate(options: argparse.Namespace, source: Source) -> int:
    """Ask for what the cache does not hold, write what there is; -> how many texts are missing."""
    made_of = describe_source(source) | {
        "backend": options.backend,
        "model": options.model_name,
        "temperature": options.temperature,
    }
    check_same_making(options.output_dir, made_of)
    jobs, path = list(make_jobs(options, source)), options.output_dir / CACHE
    if options.dry_run:
        print(estimate(jobs, unanswered(jobs, known_answers(path)), options), flush=True)
        return 0
    with AnswerCache(path) as cache:
        if cache.dropped:
            print(f"{path}: {cache.dropped:,} lines are no answers and are left out", flush=True)
        open_jobs = unanswered(jobs, cache.known)
        print(estimate(jobs, open_jobs, options), flush=True)
        failures = ask_for(open_jobs, cache, options)
        write_outputs(options.output_dir, made_of, texts_by_file(jobs, cache))
        asked = [cache.get(job.question) for job in open_jobs if job not in failures]
    print(spent(asked, options), flush=True)
    for job, why in failures.items():
        print(f"no text: {job}: {why}", flush=True)
    return len(failures)


def unanswered(jobs: list[Job], known: dict[str, Answer]) -> list[Job]:
    return [job for job in jobs if job.question.key not in known]


def ask_for(jobs: list[Job], cache: AnswerCache, options: argparse.Namespace) -> dict[Job, str]:
    """Fill the cache; -> why some answers did not come."""
    if not jobs:
        return {}
    patience = Patience(options.concurrency, options.max_retries, options.backoff, options.requests_per_minute)
    failures = ask_all([job.question for job in jobs], make_backend(options), cache, patience)
    return {job: failures[job.question] for job in jobs if job.question in failures}


def texts_by_file(jobs: list[Job], cache: AnswerCache) -> dict[str, dict]:
    """What is known by now: {file: {id: text}}, of snapshots {file: {user: {events: text}}}."""
    texts: dict[str, dict] = {}
    for job in jobs:
        if answer := cache.get(job.question):
            found = texts.setdefault(job.file, {})
            if job.events is None:
                found[job.id] = answer.text
            else:
                found.setdefault(job.id, {})[job.events] = answer.text
    return texts


def chosen(options: argparse.Namespace, source: Source) -> tuple[list[str], list[str]]:
    """The first so many users and items."""
    users = [] if options.skip_users else list(islice(source.histories, options.num_users))
    items = [] if options.skip_items else list(islice(source.items, options.num_items))
    return users, items


def make_jobs(options: argparse.Namespace, source: Source) -> Iterator[Job]:
    def question(prompt: str, max_tokens: int) -> Question:
        return Question(prompts.SYSTEM, prompt, options.model_name, options.temperature, max_tokens)

    users, items = chosen(options, source)
    for user in users:
        prompt = prompts.preference_prompt(source.history(user))
        yield Job(USER_PREFERENCES, user, question(prompt, prompts.PREFERENCE_TOKENS))
        for events in source.moments(user, options.snapshots):
            prompt = prompts.preference_prompt(source.history(user, events))
            yield Job(SNAPSHOTS, user, question(prompt, prompts.PREFERENCE_TOKENS), events)
    for item in items:
        prompt = prompts.description_prompt(source.items[item])
        yield Job(ITEM_DESCRIPTIONS, item, question(prompt, prompts.DESCRIPTION_TOKENS))


def make_backend(options: argparse.Namespace) -> Backend:
    if options.backend == "local":
        return local_backend(options.model_name, options.device)
    return openai_backend(options.base_url, options.timeout)


def estimate(jobs: list[Job], open_jobs: list[Job], options: argparse.Namespace) -> str:
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


def spent(answers: list[Answer], options: argparse.Namespace) -> str:
    tokens_in, tokens_out = sum(a.tokens_in for a in answers), sum(a.tokens_out for a in answers)
    counted = f"{tokens_in:,} tokens in, {tokens_out:,} out, {cost(tokens_in, tokens_out, options)}"
    return f"{len(answers):,} answers: {counted}"


def cost(tokens_in: int, tokens_out: int, options: argparse.Namespace) -> str:
    if not (options.price_in or options.price_out):
        return "cost unknown (--price_in, --price_out)"
    return f"cost {tokens_in / 1000 * options.price_in + tokens_out / 1000 * options.price_out:.4f}"


def write_outputs(directory: Path, made_of: dict, texts: dict[str, dict]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    check_same_making(directory, made_of)
    write_json(directory / MADE_OF, made_of)
    for file, found in texts.items():
        if found:
            merge = merge_snapshots if file == SNAPSHOTS else merge_texts
            print(f"{directory / file}: {merge(directory / file, found):,} texts", flush=True)


def describe_source(source: Source) -> dict[str, str]:
    found = {"source": source.name, "data": source.fingerprint, "prompts": prompts.fingerprint()}
    return found | ({"data_artifact": source.data_artifact} if source.data_artifact else {})


def load_source(options: argparse.Namespace) -> Source:
    if options.run_dir:
        return run_source(options.run_dir)
    loader = MovieLensDataLoader(options.data_dir, options.dataset, options.plots)
    print(loader.report(), flush=True)
    item_metadata, user_sequences, _ = loader.load()
    return movielens_source(options.dataset, item_metadata, user_sequences)


def run_source(run_dir: Path) -> Source:
    """Items and train events of a run's data artifact, whatever shop they are of."""
    from genrec.artifacts import CATALOG, SEQUENCES, SPLITS, require
    from genrec.data.catalog import load_catalog
    from genrec.data.sequences import load_sequences, load_splits, seen_in_training

    directory = run_dir / "data"
    manifest = require(directory, "data/prepare.py")
    sequences, splits = load_sequences(directory / SEQUENCES), load_splits(directory / SPLITS)
    seen = seen_in_training(sequences, splits)
    catalog = load_catalog(directory / CATALOG)
    return prepared_source(manifest.config["data.dataset"], catalog, sequences, seen, manifest.fingerprint)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = parser.add_argument_group("data")
    data.add_argument("--dataset", choices=sorted(PLACES), default="ml-100k", help="default ml-100k")
    data.add_argument("--data_dir", type=Path, help="folder of the files, as dataset_loader.py takes it")
    data.add_argument("--plots", type=Path, help="JSON lines with movie_id and plot, for plain MovieLens")
    data.add_argument("--run_dir", type=Path, help="a run of the main pipeline, in place of MovieLens")
    data.add_argument("--output_dir", type=Path, default=Path("data/llm_generated"), help="default data/llm_generated")
    data.add_argument("--num_users", type=count, help="the first so many users (default all)")
    data.add_argument("--num_items", type=count, help="the first so many items (default all)")
    data.add_argument("--snapshots", type=int, default=0, help="texts a user of earlier moments (default none)")
    data.add_argument("--skip_users", action="store_true", help="items only")
    data.add_argument("--skip_items", action="store_true", help="users only")
    model = parser.add_argument_group("model")
    model.add_argument("--backend", choices=["openai", "local", "none"], default="openai", help="default openai")
    model.add_argument("--model_name", default="qwen-flash", help="a model of the endpoint, or a local directory")
    model.add_argument("--base_url", help="an OpenAI-compatible endpoint (default DashScope's or OpenAI's, by key)")
    model.add_argument("--device", default="auto", help="of a local model: auto, cpu, cuda")
    model.add_argument("--temperature", type=float, default=0.7, help="default 0.7")
    run = parser.add_argument_group("run")
    run.add_argument("--concurrency", type=count, default=4, help="questions at a time (default 4)")
    run.add_argument("--requests_per_minute", type=float, default=0.0, help="at most so many (default no limit)")
    run.add_argument("--timeout", type=float, default=60.0, help="seconds an answer may take (default 60)")
    run.add_argument("--max_retries", type=int, default=5, help="tries after the first (default 5)")
    run.add_argument("--backoff", type=float, default=1.0, help="seconds before the second try, doubled (default 1)")
    run.add_argument("--price_in", type=float, default=0.0, help="price of 1,000 tokens read, for the estimate")
    run.add_argument("--price_out", type=float, default=0.0, help="price of 1,000 tokens written")
    run.add_argument("--dry_run", action="store_true", help="the estimate alone")
    return parser.parse_args()


def count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, found {number}")
    return number


if __name__ == "__main__":
    main()
