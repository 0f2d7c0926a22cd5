"""`genrec recommend`: one user on the screen, many in a file, and what is asked wrongly in one line."""

import gzip
import json
import shlex
import shutil

import polars as pl
import pytest

import genrec
from genrec.stages.run import say_next
from tests.asked import ask
from tests.small_model import write_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "run")


def test_a_user_sees_titles_scores_and_sids(run, capsys):
    text = ask(capsys, "--run.dir", run[0], "--user", "u3", "--k", "4")
    lists = genrec.load(run[0]).recommend(users=["u3"], k=4)
    lines = text.splitlines()
    assert "user u3: " in text and "score of 'rl': log-probability of the SID" in text
    for rank, title, score, item, sid in lists.select("rank", "title", "score", "item_id", "sid").rows():
        line = next(line for line in lines if line.startswith(f"{rank} "))
        assert title in line and f"{score:.3f}" in line and item in line and sid in line
    assert max(map(len, lines)) <= 80 or "run:" in lines[0]


def test_settings_are_those_of_the_table_unless_flags_say_otherwise(run, capsys):
    def best(*flags):
        text = ask(capsys, "--run.dir", run[0], "--model", "sft", "--items", "B001,B002", "--k", "1", *flags)
        return next(line for line in text.splitlines() if line.startswith("1 "))

    def score(**settings):
        frame = genrec.load(run[0], "sft", **settings).recommend([["B001", "B002"]], k=1)
        return f"{frame['score'][0]:.3f}"

    assert score(normalization="trie") in best() and score(normalization="vocab") in best(
        "--evaluation.normalization=vocab"
    )
    assert score() == score(normalization="trie") != score(normalization="vocab")


def test_titles_that_are_not_exact_are_said(run, capsys):
    titles = ["Item 3, 'good' & \"new\" [3]", "item 4, 'GOOD' & \"new\" [4]", "Item 5 good new"]
    text = ask(capsys, "--run.dir", run[0], "--model", "item_knn", "--titles", *titles, "--k", 2)
    assert (
        "'item 4, 'GOOD' & \"new\" [4]' is taken as 'Item 4" in text
        and "no title 'Item 5 good new'; the nearest" in text
    )
    assert "is taken as 'Item 3" not in text and "history: 3 items" in text
    assert genrec.load(run[0], "item_knn").recommend([["B003", "B004", "B005"]], k=1)["title"][0] in text


@pytest.mark.parametrize("ending", ["parquet", "jsonl"])
def test_all_users_are_written_as_the_frame_has_them(run, tmp_path, capsys, ending):
    path = tmp_path / f"lists.{ending}"
    text = ask(capsys, "--run.dir", run[0], "--all_users", "--k", 3, "--output", path)
    wanted = genrec.load(run[0]).recommend(users=run[1].sequences.user_id.tolist(), k=3)
    written = pl.read_parquet(path) if ending == "parquet" else pl.read_ndjson(path, schema=wanted.schema)
    assert written.equals(wanted) and "60 users, 180 items by 'rl' in " in text and "rows/s) -> " in text
    assert not list(tmp_path.glob("*.tmp"))


def test_users_of_a_file_and_of_a_model_without_its_run(run, tmp_path, capsys):
    names = tmp_path / "names.txt"
    names.write_text("u5\n\nu2\n")
    ask(capsys, "--run.dir", run[0], "--users", names, "--output", tmp_path / "a.parquet")
    assert pl.read_parquet(tmp_path / "a.parquet")["user"].unique(maintain_order=True).to_list() == ["u5", "u2"]
    shutil.copytree(run[0] / "sft", tmp_path / "model")
    events = tmp_path / "events.csv"
    events.write_text("user_id,item_id,timestamp\n7,B002,20\n7,B001,3\n8,gone,1\n")
    flags = ("--model", tmp_path / "model", "--users", events, "--output", tmp_path / "b.jsonl")
    assert "no item 'gone' among the 17" in ask(capsys, *flags, code=1)
    assert not (tmp_path / "b.jsonl").exists()
    assert "1 users have no history" in ask(capsys, *flags, "--skip_unknown")
    lines = [json.loads(line) for line in (tmp_path / "b.jsonl").read_text().splitlines()]
    wanted = genrec.load(tmp_path / "model").recommend([["B001", "B002"], []], users=["7", "8"])
    assert [line["item_id"] for line in lines] == wanted["item_id"].to_list()


def test_users_of_a_file_are_read_as_the_events_of_a_run_are(run, tmp_path, capsys):
    """Dates, other names, packed files: what `data.events` takes; the 9th of July is before the 10th."""
    wanted = genrec.load(run[0]).recommend([["B001", "B002", "B003"]], users=["7"])["item_id"].to_list()
    rows = [("B002", "2024-7-9 09:00"), ("B003", "2024-7-10 08:00"), ("B001", "2024-7-8 23:00")]
    (tmp_path / "a.csv").write_text("user,product,time\n" + "".join(f"7,{item},{time}\n" for item, time in rows))
    with gzip.open(tmp_path / "b.jsonl.gz", "wt") as file:
        file.writelines(json.dumps({"Kunde": "7", "sku": item, "when": time}) + "\n" for item, time in rows)
    named = ["--data.source", "table", "--data.columns", "{user: Kunde, time: when}"]
    for name, flags in {"a.csv": [], "b.jsonl.gz": named}.items():
        flags = ["--run.dir", run[0], "--users", tmp_path / name, "--output", tmp_path / "out.jsonl", *flags]
        ask(capsys, *flags)
        lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
        assert [line["item_id"] for line in lines] == wanted and lines[0]["user"] == "7", name
    (tmp_path / "a.csv").write_text("user,product,time\n7,B001,yesterday\n")
    error = ask(capsys, "--run.dir", run[0], "--users", tmp_path / "a.csv", "--output", tmp_path / "c.jsonl", code=1)
    assert "the column 'time' holds no time in any of 1 values (['yesterday'])" in error


def test_a_list_of_nothing_says_so_and_a_part_of_a_title_will_do(run, tmp_path, capsys):
    (tmp_path / "deny").write_text("\n".join(genrec.load(run[0]).catalog.item_id))
    text = ask(capsys, "--run.dir", run[0], "--user", "u3", "--deny", tmp_path / "deny")
    assert "no item may be listed: --deny, --allow and --exclude_seen leave none" in text
    assert "the nearest is taken" in ask(capsys, "--run.dir", run[0], "--titles", "Item", "--k", "2")
    assert repr(genrec.load(run[0])) == f"Recommender('rl' of {run[0]}: 17 items, 60 users)"
    assert ask(capsys, "--run.dir", run[0], "--items", '["B001", "B0,2"]', code=1).startswith("error: no item 'B0,2'")


def test_allow_and_deny_files(run, tmp_path, capsys):
    (tmp_path / "allow").write_text("B001\nB002\nB003\n")
    (tmp_path / "deny").write_text("B002\n")
    flags = ("--run.dir", run[0], "--items", "B010", "--exclude_seen", "False")
    text = ask(capsys, *flags, "--allow", tmp_path / "allow", "--deny", tmp_path / "deny")
    assert "only 2 items may be listed" in text and "B001" in text and "B003" in text and "B002" not in text


@pytest.mark.parametrize(
    "words, code, said",
    [
        ([], 2, "whom for? pass one of --user, --items, --titles, --users, --all_users; found none of them"),
        (["--user", "u1", "--items", "B001"], 2, "found --user and --items"),
        (["--all_users"], 2, "--all_users needs --output F.parquet or F.jsonl"),
        (["--all_users", "--output", "x.csv"], 2, "--output x.csv must end in .parquet or .jsonl"),
        (["--user", "u99"], 1, "no user 'u99' among the 60 users of "),
        (["--user", "u1", "--model", "sfd"], 1, "no model 'sfd'; did you mean 'sft'?"),
        (["--user", "u1", "--usr", "u1"], 2, "unknown flag --usr"),
        (["--usr", "u1"], 2, "unknown flag --usr; did you mean '--user'?"),
        (["--titles", "zzzz"], 1, "no title is like 'zzzz'; the nearest is 'Item "),
        (["--user", "u1", "--deny", "nowhere"], 1, "nowhere cannot be read: No such file"),
        (["--users", "x.xlsx", "--output", "y.jsonl"], 1, "x.xlsx"),
    ],
)
def test_what_is_asked_wrongly_is_one_line(run, capsys, words, code, said):
    error = ask(capsys, "--run.dir", run[0], *words, code=code)
    assert said in error and error.startswith("error: ") and error.count("\n") == 1


def test_a_directory_that_is_no_run_is_named(tmp_path, capsys):
    error = ask(capsys, "--run.dir", tmp_path, "--user", "u1", code=1)
    assert f"{tmp_path} is no run" in error and "--model DIR" in error


def test_the_line_that_the_pipeline_ends_with_is_a_call_that_works(run, tmp_path, capsys):
    say_next(run[0])
    line = capsys.readouterr().out
    assert line.startswith("Recommend: genrec recommend --run.dir ") and line.endswith("--user u0\n")
    assert "user u0: " in ask(capsys, *shlex.split(line)[3:])
    say_next(tmp_path)
    assert not capsys.readouterr().out
