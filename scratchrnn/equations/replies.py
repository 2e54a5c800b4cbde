"""What is said to who writes a line, in the terminal and on a page: {} stands for what it is said of."""

from __future__ import annotations

import sys
from collections.abc import Mapping

WRITTEN = "names, numbers, + - * / ^, comparisons and functions as tanh(c)"
REPLIES: Mapping[str, str] = {
    # the question
    "rule": "any algebra that gives the same is right",
    "known": "known: {}",
    # how an answer is called
    "right": "right: ",
    "wrong": "not yet: ",
    "refused": "cannot be judged: ",
    "score": "{} of {}, {} of them at the first try and without a hint",
    # why it cannot be judged
    "nothing": "nothing was typed",
    "strange": f"{{}} cannot be read: a right side has {WRITTEN}",
    "unreadable": "`{}` cannot be read",
    "near": " at `{}`",
    "elementwise": "; between two factors stands *, and each ( has its )",
    "too large": f"a number should be one that float64 has, at most {sys.float_info.max:.2g}",
    "exponent": "an exponent should be a number of at most {}, got `{}`",
    "arguments": "`{}`: it is {}({})",
    "no function": "{} is no function that is known here: sigmoid, tanh, relu, exp and such are",
    "a function": "{} is a function: write {}(...)",
    "another line": "asked for is {}, got a line of {}",
    "unknown": "{} is not known here: {}",
    "meant": "did you mean {}?",
    "all known": "known are {}",
    # why it is wrong, where no mistake explains it
    "not finite": "it is not finite: somewhere it divides by 0, or is the logarithm of what is not positive",
    "times": "it is {} times what it should be",
    "too much": "{} is too much",
    "where": "where {}, ",
    "gives": "yours gives {}, and {} is {}",
}
