import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from genrec.artifacts import read_manifest
from genrec.data.given_texts import read_preferences, read_snapshots, read_texts
from genrec.errors import ArtifactError
from genrec.lock import only_writer
from tests import ROOT
from tests.small_shop import small_config, small_shop, write_data
from tests.ur4rec.small import write_collection
from tests.ur4rec.stub_llm import serving
from UR4Rec import prompts
from UR4Rec.data.dataset_loader import load_ml_100k
from UR4Rec.data.generated import plain_preferences
from UR4Rec.models import llm_asking, llm_generator
from UR4Rec.models.llm_backends import DASHSCOPE_URL, endpoint, name_endpoint
from UR4Rec.models.llm_cache import Answer, AnswerCache, Question

NUM_USERS, NUM_ITEMS = 12, 40


@pytest.fixture(autouse=True)
def no_keys(monkeypatch):
    for name in ("DASHSCOPE_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def collection(tmp_path):
    return write_collection(tmp_path / "M_ML-100K", NUM_USERS, NUM_ITEMS)


@pytest.fixture
def run(collection, tmp_path, monkeypatch):
    """The command in this process -> exit code; files go to tmp_path/out, without snapshots unless asked for."""

    def command(stub, *flags):
        words = ["llm_generator.py", "--data_dir", str(collection), "--output_dir", str(tmp_path / "out")]
        words += [] if "--snapshots" in flags else ["--snapshots", "0"]
        words += ["--base_url", stub.url, "--backoff", "0.001", "--timeout", "1.5"] if stub else []
        monkeypatch.setattr(sys, "argv", [*words, *flags])
        try:
            llm_generator.main()
        except SystemExit as ended:
            return ended.code
        return 0

    return command


def written(tmp_path):
    out = tmp_path / "out"
    return [
        read_texts(out / name) if (out / name).exists() else {}
        for name in ("user_preferences.json", "item_descriptions.json")
    ]


def test_a_whole_run_asks_once_for_everything_and_a_second_for_nothing(run, tmp_path, capsys):
    with serving() as stub:
        assert run(stub) == 0
        users, items = written(tmp_path)
        assert list(users) == [str(u) for u in range(101, 101 + NUM_USERS)]  # as numbers, and by the collection's ids
        assert list(items) == [str(3 * n) for n in range(1, NUM_ITEMS + 1)]
        assert len(stub.prompts) == NUM_USERS + NUM_ITEMS
        assert run(stub) == 0
        assert len(stub.prompts) == NUM_USERS + NUM_ITEMS
    said = capsys.readouterr().out
    assert f"{NUM_USERS} users and {NUM_ITEMS} items: 0 answers are in the cache, 52 to ask qwen-flash for" in said
    assert "52 answers are in the cache, 0 to ask" in said
    assert f"52 answers: {52 * 100:,} tokens in, {52 * 10} out" in said


def test_no_prompt_about_a_user_knows_a_held_out_title(run, collection):
    """Titles are distinct, and a user's prompt is recognised by the first title of the train prefix."""
    items, sequences, _ = load_ml_100k(collection)
    title = {number: item["title"] for number, item in items.items()}
    with serving() as stub:
        run(stub, "--skip_items")
    asked = set(stub.prompts)
    for user, films in sequences.items():
        own = prompts.preference_prompt([items[film] for film in films[:-2]])
        assert own in asked, user
        assert title[films[-1]] not in own and title[films[-2]] not in own
        assert all(f"- {title[film]}" in own for film in films[:-2][-prompts.RECENT_TITLES :])
    for user, text in plain_preferences(items, sequences).items():
        held = sequences[int(user)][-2:]
        assert not any(title[film] in text for film in held)


def test_a_partial_run_adds_and_never_takes_away(run, tmp_path):
    with serving() as stub:
        run(stub)
        whole = written(tmp_path)
        run(stub, "--num_users", "2", "--num_items", "3")
        assert written(tmp_path) == whole
    (tmp_path / "out" / "llm_cache" / "answers.jsonl").unlink()
    with serving(lambda prompt, before: "thought") as stub:  # other answers
        run(stub, "--num_users", "2", "--skip_items")
    users, items = written(tmp_path)
    assert users == {**whole[0], "101": "Likes drama .", "102": "Likes drama ."} and items == whole[1]


def test_switches_choose_what_is_asked(run, tmp_path):
    with serving() as stub:
        run(stub, "--skip_users", "--num_items", "5")
        assert [len(texts) for texts in written(tmp_path)] == [0, 5]
        run(stub, "--skip_items", "--num_users", "4")
        assert [len(texts) for texts in written(tmp_path)] == [4, 5]


@pytest.mark.parametrize("trouble", [500, 429, "stall", "garbage", "html", "shape", "empty", "null"])
def test_trouble_that_passes_is_tried_again(run, tmp_path, trouble):
    with serving(lambda prompt, before: trouble if before < 2 and "Film 3:" in prompt else "ok") as stub:
        assert run(stub, "--num_items", "2", "--skip_users") == 0
        assert max(stub.asked.values()) == 3
    assert len(written(tmp_path)[1]) == 2


@pytest.mark.parametrize(("trouble", "tries"), [(500, 3), ("garbage", 3), (400, 1)])
def test_one_text_that_cannot_be_had_costs_no_other(run, tmp_path, capsys, trouble, tries):
    with serving(lambda prompt, before: trouble if "Film 6:" in prompt else "ok") as stub:
        assert run(stub, "--num_items", "4", "--skip_users", "--max_retries", "2") == 1
        assert max(stub.asked.values()) == tries
    assert list(written(tmp_path)[1]) == ["3", "9", "12"]
    said = capsys.readouterr()
    assert "no text: item_descriptions 6: " in said.out
    assert "error: 1 texts could not be had; the same command asks for them again" in said.err
    with serving() as stub:  # and it does, for that one alone
        assert run(stub, "--num_items", "4", "--skip_users") == 0
        assert len(stub.prompts) == 1
    assert list(written(tmp_path)[1]) == ["3", "6", "9", "12"]


@pytest.mark.parametrize(("trouble", "said"), [(401, "refuses the key or the model"), ("quota", "is used up")])
def test_what_no_question_survives_ends_the_run_and_keeps_the_answers(run, tmp_path, capsys, trouble, said):
    with serving(lambda prompt, before: trouble if "Film 9:" in prompt else "ok") as stub:
        assert run(stub, "--skip_users", "--concurrency", "1") == 1
        assert len(stub.prompts) == 3
    assert said in capsys.readouterr().err
    with serving() as stub:
        assert run(stub, "--skip_users", "--concurrency", "1") == 0
        assert len(stub.prompts) == NUM_ITEMS - 2


def test_an_answer_under_way_when_the_run_ends_is_kept(run):
    """It was paid for: a slow answer beside a refused key is in the cache of the next run."""

    def plan(prompt, before):
        if "Film 6:" in prompt:
            return 401
        time.sleep(0.3)
        return "ok"

    with serving(plan) as stub:
        assert run(stub, "--skip_users", "--num_items", "2", "--concurrency", "2") == 1
        assert len(stub.prompts) == 2
    with serving() as stub:
        assert run(stub, "--skip_users", "--num_items", "2") == 0
        assert len(stub.prompts) == 1


def test_an_endpoint_that_is_gone_ends_the_run(run, capsys):
    with serving(lambda prompt, before: 500) as stub:
        assert run(stub, "--max_retries", "0") == 1
        assert len(stub.prompts) < llm_asking.GIVE_UP_AFTER + 5
    assert "20 texts in a row could not be had" in capsys.readouterr().err


def test_questions_go_out_together_but_no_more_than_asked_for(run):
    def slow(prompt, before):
        time.sleep(0.2)
        return "ok"

    with serving(slow) as stub:
        run(stub, "--concurrency", "3", "--num_items", "9", "--skip_users")
        assert stub.most_at_once == 3


def test_requests_are_spaced_evenly_over_all_threads(monkeypatch):
    """A clock that only sleeping moves: 120 a minute is one each half second, and a pause earns no burst."""
    clock, slept = [100.0], []
    monkeypatch.setattr(llm_asking.time, "monotonic", lambda: clock[0])
    pace = llm_asking.Pace(120)
    monkeypatch.setattr(pace, "sleep", slept.append)
    for _ in range(3):
        pace.wait()
    assert slept == [0.0, 0.5, 1.0]
    clock[0] += 60
    pace.wait(), pace.wait()
    assert slept[3:] == [0.0, 0.5]


def test_a_stop_ends_every_wait():
    with llm_asking.Pace(0) as pace:
        pace.sleep(0)
    with pytest.raises(llm_asking.Refused, match="stopped"):
        pace.sleep(1000)


def test_a_dry_run_estimates_and_asks_nothing(run, tmp_path, capsys):
    flags = ("--num_users", "1", "--skip_items", "--price_in", "0.5", "--price_out", "2")
    with serving() as stub:
        assert run(stub, *flags, "--dry_run") == 0
        assert not stub.prompts
    assert written(tmp_path) == [{}, {}] and not (tmp_path / "out").exists()
    said = capsys.readouterr().out
    items, tokens = said.split("about ")[1].split(" tokens in")[0], prompts.PREFERENCE_TOKENS
    assert f"at most {tokens} out, cost {int(items) / 1000 * 0.5 + tokens / 1000 * 2:.4f}" in said
    with serving() as stub:
        run(stub, *flags)
        run(stub, "--num_users", "2", "--skip_items", "--dry_run")
    assert "1 answers are in the cache, 1 to ask" in capsys.readouterr().out


def test_the_cost_is_known_of_a_listed_model_at_its_own_endpoint(run, monkeypatch, capsys):
    monkeypatch.setenv("DASHSCOPE_API_KEY", "x")
    flags = ("--num_users", "10", "--snapshots", "3", "--skip_items", "--dry_run")
    assert run(None, *flags) == 0
    said = capsys.readouterr().out
    tokens_in = int(said.split("about ")[1].split(" tokens in")[0].replace(",", ""))
    asked = int(said.split("are in the cache, ")[1].split(" to ask")[0])
    expected = tokens_in * 0.15e-6 + asked * prompts.PREFERENCE_TOKENS * 1.5e-6
    assert f"cost {expected:.4f} yuan by the listed price of qwen-flash" in said and asked > 10
    run(None, *flags, "--base_url", "https://elsewhere/v1")
    run(None, *flags, "--model_name", "other")
    assert capsys.readouterr().out.count("cost unknown") == 2


def test_texts_of_other_models_or_data_are_never_mixed(run, tmp_path, collection, capsys):
    with serving() as stub:
        run(stub, "--num_users", "1", "--skip_items")
        assert run(stub, "--num_users", "1", "--model_name", "other") == 1
        assert "was made with other settings: model is 'qwen-flash' there, 'other' asked" in capsys.readouterr().err
        with (collection / "ratings.dat").open("a") as file:
            file.write("101::3::5::1\n")
        assert run(stub, "--num_users", "1") == 1
        assert "was made with other settings: data is " in capsys.readouterr().err


def test_a_run_that_is_killed_goes_on(collection, tmp_path):
    """Killed for good in mid-run; what was answered is not asked again."""
    answered = []

    def slow(prompt, before):
        time.sleep(0.03)
        answered.append(prompt)
        return "ok"

    with serving(slow) as stub:
        command = [sys.executable, "UR4Rec/models/llm_generator.py", "--data_dir", str(collection), "--skip_users"]
        command += ["--output_dir", str(tmp_path / "out"), "--base_url", stub.url, "--concurrency", "2"]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while len(answered) < 10:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        before = len(stub.prompts)
        assert not (tmp_path / "out" / "item_descriptions.json").exists()
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        assert len(stub.prompts) - before <= NUM_ITEMS - 7
    assert len(written(tmp_path)[1]) == NUM_ITEMS


URL = "https://host/v1"
QUESTIONS = [Question("s", f"prompt {n}", "m", 0.7, 10, URL) for n in range(3)]


def test_the_cache_survives_a_kill_at_any_byte(tmp_path):
    path = tmp_path / "answers.jsonl"
    with AnswerCache(path) as cache:
        for n, question in enumerate(QUESTIONS):
            cache.add(question, Answer(f"téxt {n}", 1, 2))
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    for size in (0, 1, *range(len(whole) - len(lines[2]) - 2, len(whole) + 1)):
        path.write_bytes(whole[:size])
        kept = sum(len(b"".join(lines[: n + 1])) <= size for n in range(3))
        with AnswerCache(path) as cache:
            assert [cache.get(question) is not None for question in QUESTIONS] == [n < kept for n in range(3)]
            cache.add(QUESTIONS[2], Answer("again", 1, 2))
        with AnswerCache(path) as cache:
            assert cache.get(QUESTIONS[2]).text == "again" and cache.dropped == 0


def test_lines_that_are_no_answers_are_counted_and_told(run, tmp_path, capsys):
    path = tmp_path / "out" / "llm_cache" / "answers.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text('{"key": 1}\nno json\n')
    with serving() as stub:
        assert run(stub, "--num_users", "1", "--skip_items") == 0
    assert f"{path}: 2 lines are no answers and are left out" in capsys.readouterr().out


def test_an_answer_belongs_to_its_whole_question(tmp_path):
    question = Question("s", "p", "m", 0.7, 10, URL)
    others = [replace(question, system="t"), replace(question, prompt="q"), replace(question, model="n")]
    others += [replace(question, temperature=0.0), replace(question, max_tokens=11)]
    others += [replace(question, endpoint="https://other/v1")]
    with AnswerCache(tmp_path / "answers.jsonl") as cache:
        cache.add(question, Answer("text", 1, 2))
        assert cache.get(question).text == "text" and not any(map(cache.get, others))


def test_two_runs_cannot_write_one_directory(run, tmp_path, capsys):
    with only_writer(tmp_path / "out"):
        assert run(None, "--backend", "none") == 1
    assert "out is being written by process" in capsys.readouterr().err


def test_each_key_goes_to_its_own_provider(monkeypatch):
    with pytest.raises(ArtifactError, match="export DASHSCOPE_API_KEY or OPENAI_API_KEY"):
        endpoint(None)
    assert endpoint("http://localhost:8000/v1") == ("http://localhost:8000/v1", "none")
    monkeypatch.setenv("OPENAI_API_KEY", "one")
    assert endpoint("http://127.0.0.2:1/v1") == ("http://127.0.0.2:1/v1", "one")
    assert endpoint(None) == (None, "one")
    monkeypatch.setenv("DASHSCOPE_API_KEY", "other")
    assert endpoint(None) == (DASHSCOPE_URL, "other") == endpoint(DASHSCOPE_URL)
    assert endpoint("http://localhost/dashscope") == ("http://localhost/dashscope", "one")


def test_a_key_goes_over_https_or_to_this_machine(monkeypatch):
    assert endpoint("http://10.0.0.1/v1") == ("http://10.0.0.1/v1", "none")  # there is no key to be read
    monkeypatch.setenv("OPENAI_API_KEY", "one")
    for url in ("http://10.0.0.1/v1", "http://host/v1", "http://localhost.example.org/v1", "http://[2001:db8::1]/v1"):
        with pytest.raises(ArtifactError, match="neither https nor on this machine.*--insecure_endpoint"):
            endpoint(url)
        assert endpoint(url, insecure=True) == (url, "one")
    for url in ("https://host/v1", "http://localhost:8000/v1", "http://127.0.0.1/v1", "http://[::1]:80/v1"):
        assert endpoint(url) == (url, "one")


def test_an_endpoint_is_named_without_its_password():
    assert name_endpoint("https://me:secret@Host:8000/v1/") == "https://host:8000/v1"
    assert name_endpoint(None) == "https://api.openai.com/v1"


def test_answers_are_of_one_endpoint(run, tmp_path, capsys):
    with serving() as one, serving(port=0) as other:
        assert run(one, "--num_users", "1", "--skip_items") == 0
        assert run(other, "--num_users", "1", "--skip_items") == 1
        assert f"endpoint is '{one.url}' there, '{other.url}' asked" in capsys.readouterr().err
        (tmp_path / "out/made_of.json").unlink()
        (tmp_path / "out/user_preferences.json").unlink()
        assert run(other, "--num_users", "1", "--skip_items") == 0
        assert len(other.prompts) == 1  # the answer that is kept is another endpoint's


def test_answers_without_an_endpoint_are_left_out_and_stay(run, tmp_path, capsys):
    path = tmp_path / "out" / "llm_cache" / "answers.jsonl"
    path.parent.mkdir(parents=True)
    line = '{"key": "0", "model": "qwen-flash", "text": "old", "tokens_in": 1, "tokens_out": 1}\n'
    path.write_text(line)
    with serving() as stub:
        assert run(stub, "--num_users", "1", "--skip_items") == 0
        assert len(stub.prompts) == 1
    assert f"{path}: 1 answers name no endpoint" in capsys.readouterr().out
    assert path.read_text().startswith(line)


def test_an_answer_that_was_changed_is_none(run, tmp_path, capsys):
    path = tmp_path / "out" / "llm_cache" / "answers.jsonl"
    with serving() as stub:
        run(stub, "--num_users", "1", "--skip_items")
        path.write_text(path.read_text().replace("Text 2", "Text 3"))
        assert run(stub, "--num_users", "1", "--skip_items") == 0
        assert len(stub.prompts) == 2
    assert f"{path}: 1 lines are no answers and are left out" in capsys.readouterr().out


def test_the_key_of_the_environment_is_sent_and_kept_nowhere(run, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-the-secret")
    with serving() as stub:
        run(stub, "--num_users", "1", "--num_items", "1")
        assert stub.keys == {"Bearer sk-the-secret"}
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert files and not any(b"the-secret" in path.read_bytes() for path in files)


def test_without_a_model_there_are_plain_sentences(run, tmp_path, collection):
    assert run(None, "--backend", "none") == 0
    items, sequences, _ = load_ml_100k(collection)
    assert written(tmp_path) == [
        plain_preferences(items, sequences),
        {str(item["original_id"]): item["description"] for item in items.values()},
    ]


def test_a_local_model_answers_the_same_each_time(run, tmp_path, monkeypatch):
    """Its name is part of the question, and the question is the seed: a name that no other run of the tests changes."""
    monkeypatch.chdir(tmp_path)
    tiny_language_model(tmp_path / "model")
    flags = ("--backend", "local", "--model_name", "model", "--num_users", "1", "--num_items", "1")
    assert run(None, *flags, "--device", "cpu") == 0
    first = written(tmp_path)
    assert all(text for texts in first for text in texts.values()) and [len(texts) for texts in first] == [1, 1]
    (tmp_path / "out" / "llm_cache" / "answers.jsonl").unlink()
    run(None, *flags, "--device", "cpu")
    assert written(tmp_path) == first


def test_a_chat_model_is_asked_in_its_own_form():
    from genrec.models.language import train_tokenizer
    from UR4Rec.models.llm_backends import prompt_tokens

    tokenizer = train_tokenizer(["likes drama"], 300)
    question = Question("Be short.", "What?", "m", 0.7, 10, URL)
    assert tokenizer.decode(prompt_tokens(tokenizer, question)) == "Be short.\n\nWhat?\n"
    tokenizer.chat_template = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}[assistant]"
    assert tokenizer.decode(prompt_tokens(tokenizer, question)) == "[system]Be short.[user]What?[assistant]"


def tiny_language_model(directory):
    import torch

    from genrec.config import Scratch
    from genrec.models.language import make_scratch, train_tokenizer

    torch.manual_seed(0)
    tokenizer = train_tokenizer(["likes drama and old films about war"], 300)
    shape = Scratch(hidden_size=16, num_layers=1, num_heads=2, intermediate_size=16, vocab_size=300)
    make_scratch(shape, tokenizer, 512).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def test_snapshots_know_the_beginning_of_the_train_prefix(run, tmp_path, collection):
    items, sequences, _ = load_ml_100k(collection)
    with serving() as stub:
        assert run(stub, "--skip_items", "--snapshots", "2", "--num_users", "5") == 0
        assert run(stub, "--skip_items", "--num_users", "1") == 0
    snapshots = read_snapshots(tmp_path / "out" / "user_preference_snapshots.json")
    assert len(snapshots) == 5  # the second run took none away
    for user, films in list(sequences.items())[:5]:
        length = len(films) - 2
        assert list(snapshots[str(user)]) == sorted({round(length / 3), round(2 * length / 3)})
        for events in snapshots[str(user)]:
            assert prompts.preference_prompt([items[film] for film in films[:events]]) in stub.prompts
    assert run(None, "--backend", "none", "--snapshots", "1", "--output_dir", str(tmp_path / "plain")) == 0
    plain = read_snapshots(tmp_path / "plain" / "user_preference_snapshots.json")
    assert all(len(texts) == 1 for texts in plain.values()) and len(plain) == len(sequences)


def test_a_run_of_the_main_pipeline_is_described_from_its_training_events(run, tmp_path):
    data = small_shop()
    config = small_config(tmp_path / "run")
    write_data(config, data)
    with serving() as stub:
        assert run(stub, "--run_dir", str(tmp_path / "run")) == 0
    users, items = written(tmp_path)
    assert sorted(users) == sorted(data.sequences.user_id.tolist())
    assert list(items) == data.catalog.item_id.tolist()
    made_of = json.loads((tmp_path / "out" / "made_of.json").read_text())
    assert made_of["source"] == "small" and made_of["model"] == "qwen-flash"
    fingerprint = read_manifest(tmp_path / "run" / "data").fingerprint
    snapshots, _ = read_preferences(tmp_path / "out" / "user_preferences.json", fingerprint, data.sequences, data.seen)
    assert (snapshots.newest(data.splits["test"]) >= 0).all() and (snapshots.newest(data.splits["train"]) < 0).all()
    own = data.sequences.item[: data.sequences.offset[1]][:-2]
    assert prompts.preference_prompt([{"title": data.catalog.title[i]} for i in own]) in stub.prompts
