"""Small steps are simulated as they are by hand, and what a size should be follows from what workers are like."""

import pytest

from genrec.engine.shard_size import (
    ROUNDS,
    SIZES,
    Fate,
    Job,
    Worker,
    choose_shard_size,
    simulate_job,
    simulate_size,
    simulate_step,
)

SOUND = Worker(1.0, (), 0.0)
JOB = Job(cpu_seconds=18_000, mib=20_000, overhead=0.5)
GOOD = Fate(workers=5, slow=0.0, slowness=1.0, hours=1e6, back=60)


def test_sound_workers_share_equal_tasks_in_turns():
    assert simulate_step(10, 7, [SOUND] * 3, 5) == (5 + 3 * 10, 0)
    assert simulate_step(10, 6, [SOUND] * 3, 0) == (20, 0)


def test_a_slow_worker_is_waited_for_and_small_tasks_go_round_it():
    slow = Worker(4.0, (), 0.0)
    assert simulate_step(30, 3, [SOUND, SOUND, slow], 0) == (120, 0)
    assert simulate_step(10, 9, [SOUND, SOUND, slow], 0) == (40, 0)  # 4 + 4 + 1


def test_a_lost_worker_costs_what_it_had_done_and_another_does_it_again():
    lost = Worker(1.0, (25.0,), 100.0)
    assert simulate_step(10, 6, [SOUND, lost], 0) == (40, 5)  # 4 by the one; 2 by the other, who loses 5 s of a third
    assert simulate_step(10, 1, [lost], 20) == (135, 5)  # alone: back at 125


def test_a_job_without_mishaps_is_its_work_over_its_workers():
    seconds, lost = simulate_job(JOB._replace(overhead=0), 100, [SOUND] * 5)
    assert seconds == pytest.approx(JOB.cpu_seconds / 5) and lost == 0
    seconds, _ = simulate_job(JOB, 100, [SOUND] * 5)
    assert seconds == pytest.approx(JOB.cpu_seconds / 5 + (1 + ROUNDS) * 20 * JOB.overhead)


def test_the_same_seed_is_the_same_fate():
    fate = GOOD._replace(slow=0.2, slowness=3, hours=1)
    assert simulate_size(JOB, fate, 256, 1) == simulate_size(JOB, fate, 256, 1) != simulate_size(JOB, fate, 256, 2)


def test_sound_workers_want_large_shards_and_frail_ones_smaller():
    large, outcomes = choose_shard_size(JOB, GOOD, 0)
    frail, _ = choose_shard_size(JOB, GOOD._replace(slow=0.2, slowness=4, hours=2), 0)
    assert SIZES[0] < frail < large and [outcome.size for outcome in outcomes] == list(SIZES)
    dear, _ = choose_shard_size(JOB._replace(overhead=20), GOOD._replace(slow=0.2, slowness=4, hours=2), 0)
    assert dear > frail  # what a task costs by itself
