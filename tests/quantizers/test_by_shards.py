"""Codes by shards: what memory would give where the answer is one, nearly as cheap where it is not, and resumable."""

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch

from genrec.artifacts import CODES, read_json
from genrec.config import Sids
from genrec.data.shards.work import carry_out, in_turn
from genrec.data.vectors import open_vectors
from genrec.errors import ArtifactError
from genrec.quantizers import balanced, build, by_shards, quality
from genrec.quantizers.by_shards import Job, balance, find_cheapest, pick_asked
from genrec.quantizers.collisions import reassign_codes
from genrec.quantizers.fused import MixedRows, fuse_vectors, measure_hit_rate
from genrec.quantizers.residual import Quantized, encode_residually, fit_levels
from genrec.stages import sids
from tests.small_shop import run_stage, small_config, small_shop, write_data


def draw(count, width=8, seed=0):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(20, width))[rng.integers(0, 20, count)] + 0.3 * rng.normal(size=(count, width))
    return rows.astype(np.float32)


@pytest.fixture
def job(tmp_path, monkeypatch):
    """(rows, make a job): 1,000 rows on disk, of which a task takes 300, by 128 at once."""
    monkeypatch.setattr(by_shards, "SHARD", 300)
    monkeypatch.setattr(by_shards, "CHUNK", 128)
    monkeypatch.setattr("genrec.data.vectors.BLOCK", 128)
    rows = draw(1000)
    np.save(tmp_path / "rows.npy", rows)

    def make(method, workers=in_turn, **knobs):
        asked = {"codebook_size": 8, "train_rows": 200, "kmeans_iters": 10, "num_epochs": 3, "eval_step": 1} | knobs
        asked = Sids(method=method, **asked)
        return Job(open_vectors(tmp_path / "rows.npy", 1000), asked, 1, "cpu", tmp_path / method, workers)

    return rows, make


@pytest.mark.parametrize("method", ["rqkmeans", "rqvae"])
def test_every_item_gets_the_nearest_codes_of_what_the_sample_taught(job, method):
    rows, make = job
    told = make(method)
    found = build.BY_SHARDS[method](told)
    latent = found.latent[:]
    assert np.array_equal(found.codes, encode_residually(latent, found.codebooks)) and found.codes.shape == (1000, 3)
    sample = rows[np.sort(np.random.default_rng(1).choice(1000, 200, replace=False))]
    assert np.array_equal(told.sample(), sample)
    if method == "rqkmeans":
        alone = build.METHODS[method](sample, told.knobs, 1, "cpu", told.directory)
        assert all(map(np.array_equal, found.codebooks, alone.codebooks)) and np.array_equal(latent, rows)


def test_balance_holds_for_all_items_and_costs_hardly_more_than_the_cheapest(job):
    rows, make = job
    found = build.BY_SHARDS["rqkmeans_constrained"](make("rqkmeans_constrained"))
    residual = rows.copy()
    for level, book in enumerate(found.codebooks):
        codes = found.codes[:, level]
        assert np.bincount(codes, minlength=8).tolist() == [125] * 8
        cost = balanced.cost_matrix(torch.from_numpy(residual), torch.from_numpy(book))
        least = balanced.assign_balanced(cost)
        ours, theirs = (float(cost[torch.arange(1000), torch.as_tensor(x).long()].sum()) for x in (codes, least))
        spread = float(cost.mean() * 1000) - theirs
        assert ours - theirs < 0.005 * spread
        residual -= book[codes]


def test_with_all_items_asked_the_surplus_leaves_as_cheaply_as_it_can():
    rows, book = draw(301, seed=3), draw(5, seed=4)
    cost = balanced.cost_matrix(torch.from_numpy(rows), torch.from_numpy(book))
    prices = torch.zeros(5)  # as bad as they get
    choice, margin = find_cheapest(rows, book, prices)
    assert np.array_equal(choice, cost.argmin(dim=1).numpy()) and (margin >= 0).all()
    room = balanced.split_evenly(np.bincount(choice, minlength=5)) - np.bincount(choice, minlength=5)
    asked = pick_asked(choice, margin, np.bincount(choice, minlength=5), room)
    assert all((choice[asked] == code).sum() >= -room[code] for code in range(5))
    balance(rows, np.zeros((301, 0), np.int16), (), book, prices.numpy(), choice, margin)
    assert sorted(np.bincount(choice, minlength=5)) == [60, 60, 60, 60, 61]


def test_workers_in_any_order_a_kill_and_a_torn_part_change_no_code(job, tmp_path, capsys):
    rows, make = job
    wanted = build.BY_SHARDS["rqkmeans_constrained"](make("rqkmeans_constrained"))

    def backwards(tasks):
        yield from ((place, carry_out(tasks[place])) for place in reversed(range(len(tasks))))

    carried = []

    def killed(tasks):
        for place, task in enumerate(tasks):
            carried.append(task.record)
            if len(carried) == 7:
                raise KeyboardInterrupt
            yield place, carry_out(task)

    told = replace(make("rqkmeans_constrained", backwards), directory=tmp_path / "backwards")
    assert np.array_equal(build.BY_SHARDS["rqkmeans_constrained"](told).codes, wanted.codes)
    told = replace(told, directory=tmp_path / "killed", workers=killed)
    with pytest.raises(KeyboardInterrupt):
        build.BY_SHARDS["rqkmeans_constrained"](told)
    assert np.array_equal(build.BY_SHARDS["rqkmeans_constrained"](told).codes, wanted.codes)
    assert len(carried) == 12 + 1 and len(set(carried)) == 12
    part = carried[3].with_suffix(".npz")
    part.write_bytes(part.read_bytes()[:100])  # of a disk that lost its end
    assert np.array_equal(build.BY_SHARDS["rqkmeans_constrained"](told).codes, wanted.codes)
    assert f"{part} cannot be read" in capsys.readouterr().out and carried[13:] == [carried[3]]


def test_quality_by_blocks_is_that_of_all_at_once(job, tmp_path):
    rows, make = job
    file = make("rqkmeans").rows
    whole = fit_levels(rows, 4, 8, lambda x, k, seed: balanced.balanced_kmeans(x, k, seed, 5), 0)
    parts = Quantized(file, whole.codes, whole.codebooks, file)
    for kind in ("error", "explained"):
        once, blocks = (quality.measure_reconstruction(each, whole.codes)[kind] for each in (whole, parts))
        assert blocks == pytest.approx(once, abs=2e-5)
    once, blocks = (quality.find_neighbour_pairs(each, 0) for each in (rows, file))
    assert np.array_equal(once[:, 0], blocks[:, 0])
    assert [set(group) for group in once[:, 1].reshape(1000, -1)] == [set(g) for g in blocks[:, 1].reshape(1000, -1)]
    assert np.array_equal(reassign_codes(whole), reassign_codes(parts))
    factors = draw(1000, 3, seed=9)
    mixed, last, target = fuse_vectors(rows, factors, 0.3), np.arange(500), np.arange(500)[::-1] * 2
    assert np.allclose(MixedRows(file, factors, 0.3)[7:9], mixed[7:9])
    rate = measure_hit_rate(MixedRows(file, factors, 0.3), last, target)
    assert rate == pytest.approx(measure_hit_rate(mixed, last, target))


def test_vectors_on_disk_are_checked_by_blocks_and_the_first_bad_row_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("genrec.data.vectors.BLOCK", 4)
    rows = draw(10)
    for row, value, said in ((7, np.nan, "NaN or infinite numbers in 1 rows, first row 7"), (9, 0, "1 rows of zeros")):
        bad = rows.copy()
        bad[row] = value
        np.save(tmp_path / "x.npy", bad)
        with pytest.raises(ArtifactError, match=said):
            open_vectors(tmp_path / "x.npy", 10)
    np.save(tmp_path / "x.npy", rows.astype(np.float16))
    assert open_vectors(tmp_path / "x.npy", 10)[2:4].dtype == np.float32
    monkeypatch.setattr("genrec.data.vectors.WINDOW", 3)
    np.save(tmp_path / "x.npy", rows)
    taken = np.array([9, 0, 4, 4, 8, 1])
    assert np.array_equal(open_vectors(tmp_path / "x.npy", 10)[taken], rows[taken])
    assert open_vectors(tmp_path / "x.npy", 10)[taken[:0]].shape == (0, 8)
    (tmp_path / "x.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:-5])
    with pytest.raises(ArtifactError, match="x.npy cannot be read"):
        open_vectors(tmp_path / "x.npy", 10)


def test_the_stage_takes_more_items_than_it_learns_from_and_leaves_nothing_between(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(quality, "plot_quality", lambda *_: None)
    for name, method in (("a", "rqkmeans_plus"), ("b", "rqkmeans")):
        knobs = {"method": method, "train_rows": 10, "codebook_size": 4, "num_epochs": 2, "alpha": 0.3}
        config = small_config(tmp_path / name, sids=knobs)
        write_data(config, small_shop())
        rows = draw(20, seed=5)
        run_stage(
            "embeddings", config, lambda _, directory, rows=rows: np.save(directory / "small.emb.npy", rows) or {}
        )
        run_stage("sids", config, sids.build)
        assert "20 items: learned on 10 (sids.train_rows), given by shards" in capsys.readouterr().out
        place = config.run.dir / "sids" / method
        assert len(np.unique(np.load(place / CODES), axis=0)) == 20 and not list(place.rglob(".shards"))
        report = read_json(place / "quality.json")
        assert report["items"] == 20 and 0 < report["reconstruction"]["error"][-1] < 1


def test_what_is_in_memory_says_that_no_engine_helps(tmp_path, capsys):
    config = small_config(tmp_path, run={"engine": "ray", "dir": str(tmp_path)})
    with sids.open_workers(config, draw(5)) as workers:
        assert workers is in_turn
    assert "gives codes to more than 1,000,000 items (sids.train_rows)" in capsys.readouterr().out


@pytest.mark.slow
def test_workers_on_ray_give_the_codes_of_one_process(job, tmp_path):
    pytest.importorskip("ray", reason="ray is not installed: pip install 'genrec[ray]'")
    from genrec.config import Run
    from genrec.engine.model_workers import choose_workers

    _, make = job
    find = choose_workers("sids", Run(engine="ray", workers=2), tmp_path) or (lambda: nullcontext(in_turn))
    with find() as workers:
        for method in ("rqkmeans_constrained", "rqvae"):
            wanted = build.BY_SHARDS[method](make(method))
            told = replace(make(method), directory=tmp_path / f"{method}-ray", workers=workers)
            assert np.array_equal(build.BY_SHARDS[method](told).codes, wanted.codes)
