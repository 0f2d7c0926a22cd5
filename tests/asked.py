"""`genrec recommend` in this process, and what it put on the screen."""

from genrec.stages import recommend


def ask(capsys, *words, code=0):
    try:
        recommend.main([str(word) for word in words])
        ended = 0
    except SystemExit as end:
        ended = end.code
    screen = capsys.readouterr()
    assert ended == code, screen.err
    return screen.out if not code else screen.err
