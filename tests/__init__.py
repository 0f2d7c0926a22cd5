from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]  # of the checkout


def parse_flags(argv: list[str], section: str = ""):
    """A command line of the pipeline's configuration -> Command; `section`'s keys are plain flags."""
    from genrec.commandline import parse_strict, stage_program

    return parse_strict(stage_program("genrec", "", section), argv)
