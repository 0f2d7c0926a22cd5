"""What differs between what was made and what is asked, in words."""

from genrec.guard import differences, refusal


def test_every_knob_and_input_that_differs_is_named_with_both_values():
    made = {"config": {"a": 1, "b": 2, "gone": 3}, "inputs": {"data": "x", "lost": "y"}}
    asked = {"config": {"a": 1, "b": 5, "new": 4}, "inputs": {"data": "z", "more": "w"}}
    assert differences(made, asked) == [
        "b is 2 there, 5 asked",
        "gone is 3 there, None asked",
        "new is None there, 4 asked",
        "data is now z, it was made from x",
        "more is now w, it was made from none",
    ]


def test_the_same_differs_in_nothing():
    made = {"config": {"a": [1, {"b": 2}]}, "inputs": {"data": "x"}}
    assert differences(made, {"config": {"a": [1, {"b": 2}]}, "inputs": {}}) == []


def test_a_refusal_names_both_ways_on():
    text = refusal("run/sft", ["a is 1 there, 2 asked"], "--run.dir ANOTHER", "`genrec sft --clean`")
    assert text == (
        "run/sft was made with other settings: a is 1 there, 2 asked. Ways on: --run.dir ANOTHER for a new one "
        "beside it, or `genrec sft --clean` to make it anew"
    )
