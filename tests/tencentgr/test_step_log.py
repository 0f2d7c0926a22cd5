import json

from tencentgr.step_log import StepLog


def test_opened_again_it_forgets_what_is_done_anew_and_torn_lines(tmp_path):
    path = tmp_path / "logs/train.log"
    log = StepLog(path, last_step=0)
    for step in (1, 2, 3):
        log.write({"global_step": step})
    path.write_text(path.read_text() + '{"global_step": 4, "lo')
    StepLog(path, last_step=2).write({"global_step": 3, "again": True})
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines == [{"global_step": 1}, {"global_step": 2}, {"global_step": 3, "again": True}]
