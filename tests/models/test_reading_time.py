"""The time of prompts is kept for who watches, in the thread that watches, and nobody else is disturbed."""

import threading

from genrec.models.reading_time import reading_prompts, watch_prompts


def read(wait=None):
    with reading_prompts(wait):
        pass


def test_readings_are_summed_and_a_device_is_waited_for_only_when_watched():
    waits = []
    read(lambda: waits.append("unwatched"))
    with watch_prompts() as seconds:
        assert seconds == []
        read(lambda: waits.append("watched"))
        once = seconds[0]
        read()
        assert len(seconds) == 1 and seconds[0] > once > 0
        thread = threading.Thread(target=read, args=(lambda: waits.append("elsewhere"),))
        thread.start()
        thread.join()
    read(lambda: waits.append("unwatched"))
    assert waits == ["watched"]
