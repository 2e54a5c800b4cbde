"""What a person types for the right side of a line: read, and evaluated, without running any of it as a program."""

from __future__ import annotations

import ast
import re
import sys
import warnings
from collections.abc import Container, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .lines import function
from .operations import OPERATIONS, operation
from .replies import REPLIES, WRITTEN

LONGEST = 500
"""So many characters are read."""
_DEEPEST = 50  # operations, each within the next
LARGEST_EXPONENT = 9

SPELLINGS = {"^": "**", "²": "**2", "³": "**3", "σ": "sigmoid", "−": "-", "≤": "<=", "≥": ">="}  # noqa: RUF001
SPELLINGS |= dict.fromkeys("⊙∘·×∗", "*")  # noqa: RUF001
"""Characters as they may be typed, and what Python has for each."""
ALSO = {"max": "maximum", "min": "minimum"}
"""Functions as they may be called, and what lines call them."""
_NOT_DECIMAL = re.compile(r"\b(?:0[xob]|\d[\w.]*_)", re.IGNORECASE)  # 0x10 and 1_000, which are Python's alone
_ALLOWED = re.compile(r"[A-Za-z0-9_ .,+\-*/@()<>=!]")


def read(text: str, functions: Container[str] = (), products: bool = False) -> ast.expr:
    """The expression that was typed, made of what lines are made of.

    Beside Python's spellings it may have ^ for a power, a sigma, ⊙, and `torch.` before a function; with matrix
    products W^T or W.T for the transpose.

    Args:
        text: what was typed.
        functions: that may be called beside the rows of `operations`.
        products: whether `W x` is a matrix product, as `Line.text` has it.

    Raises:
        ValueError: it is no such expression, too long or too deep, or has too large an exponent or number.
    """
    if not text.strip():
        raise ValueError(REPLIES["nothing"])
    if len(text) > LONGEST:
        raise ValueError(f"a right side has at most {LONGEST} characters here, got {len(text)}")
    text = re.sub(r"\^T\b|ᵀ", ".T", text) if products else text
    text = "".join(SPELLINGS.get(character, character) for character in text.strip().replace("\t", " "))
    if strange := [character for character in text if not _ALLOWED.fullmatch(character)]:
        raise ValueError(REPLIES["strange"].format(ascii(strange[0])))
    text = re.sub(r"\btorch\.(?=[a-z])", "", text)
    text = re.sub(r"(?<![\w.])0+(?=\d)", "", text)  # 01 is 1, which it is not in Python
    if products:
        text = re.sub(r"(?<=[\w)]) +(?=[A-Za-z])", " @ ", text)
    try:
        if other := _NOT_DECIMAL.search(text):
            raise SyntaxError("", ("", 1, other.start() + 1, text))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python's, of spellings as 1if
            found = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        at = text[max(0, (getattr(error, "offset", None) or 1) - 1) :].strip()
        near = REPLIES["near"].format(at) if at and at != text else ""
        missing = "" if products else REPLIES["elementwise"]
        raise ValueError(REPLIES["unreadable"].format(text) + near + missing) from None
    if _is_deeper(found, _DEEPEST):
        raise ValueError(f"a right side has at most {_DEEPEST} operations within each other here")
    return _allowed(found, functions, products)


def _is_deeper(node: ast.AST, levels: int) -> bool:
    """Found without recursion, which ends at a depth of its own."""
    level: list[ast.AST] = [node]
    for _ in range(levels):
        level = [child for part in level for child in ast.iter_child_nodes(part)]
    return bool(level)


def _allowed(node: ast.expr, functions: Container[str], products: bool) -> ast.expr:
    """The same expression, with the functions' names as rows have them.

    Raises:
        ValueError: there is something in it that no line has, or a number that float64 has not.
    """

    def inner(part: ast.expr) -> ast.expr:
        return _allowed(part, functions, products)

    match node:
        case ast.Name():
            return node
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            if number > sys.float_info.max:
                raise ValueError(REPLIES["too large"])
            return node
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return inner(operand)
        case ast.UnaryOp(op=ast.USub() as op, operand=operand):
            return ast.UnaryOp(op, inner(operand))
        case ast.BinOp(left=left, op=ast.Pow() as op, right=right):
            return ast.BinOp(inner(left), op, _exponent(right))
        case ast.BinOp(left=left, op=op, right=right) if isinstance(op, ast.MatMult) or operation(node) is not None:
            return ast.BinOp(inner(left), op, inner(right))
        case ast.Compare(left=left, ops=[op], comparators=[right]) if operation(node) is not None:
            return ast.Compare(inner(left), [op], [inner(right)])
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=keywords):
            return _call(
                name, [*map(inner, arguments)], [ast.keyword(k.arg, inner(k.value)) for k in keywords], functions
            )
        case ast.Attribute(value=matrix, attr="T") if products:
            return ast.Attribute(inner(matrix), "T")
    transposed = isinstance(node, ast.Attribute) and node.attr == "T"
    instead = "write a matrix product as W_ii x" if transposed else f"a right side has {WRITTEN}"
    raise ValueError(f"`{ast.unparse(node)}` cannot stand here: {instead}")


def _exponent(node: ast.expr) -> ast.expr:
    match node:
        case ast.Name():
            return node
        case (
            ast.Constant(value=int() | float() as number)
            | ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number))
        ) if not isinstance(number, bool) and number <= LARGEST_EXPONENT:
            return node
    raise ValueError(REPLIES["exponent"].format(LARGEST_EXPONENT, ast.unparse(node)))


def _call(name: str, given: list[ast.expr], keywords: list[ast.keyword], functions: Container[str]) -> ast.expr:
    name = ALSO.get(name, name)
    call = ast.Call(ast.Name(name), given, keywords)
    if name in OPERATIONS:
        row = OPERATIONS[name]
        try:
            row.arguments(call)
        except TypeError:
            raise ValueError(REPLIES["arguments"].format(ast.unparse(call), name, row.parameters)) from None
    elif name not in functions:
        raise ValueError(REPLIES["no function"].format(name))
    return call


def value(node: ast.expr, values: Mapping[str, Tensor]) -> Tensor:
    """What an expression of a line gives where each name stands for its tensor; a comparison is 1 where it holds.

    Raises:
        ValueError: shapes do not fit, or something should be a number that is none.
    """
    match node:
        case ast.Name(id=name):
            return values[name]
        case ast.Constant(value=int() | float() as number):
            return torch.tensor(float(number), dtype=torch.float64)
        case ast.BinOp(left=left, op=ast.MatMult(), right=right):
            a, b = value(left, values), value(right, values)
            outer = b.dim() == 2 and b.shape[0] == 1  # of a column and a row
            if a.dim() != 2 or (a.shape[1] == 1 and not outer):
                said = f"{ast.unparse(left)} is no matrix: a matrix product is W @ x, and between two vectors stands *"
                raise ValueError(f"`{ast.unparse(node)}`: {said}")
            if b.dim() != 2 or a.shape[1] != b.shape[0]:
                raise ValueError(f"`{ast.unparse(node)}`: the matrix has not as many columns as the vector has rows")
            return a @ b
        case ast.Attribute(value=matrix, attr="T"):
            return value(matrix, values).T
        case ast.BinOp(left=left, op=ast.Pow(), right=ast.Constant(value=int() | float() as exponent)):
            return value(left, values) ** exponent
        case ast.BinOp(left=left, right=right) | ast.Compare(left=left, comparators=[right]):
            row, given = operation(node), [value(left, values), value(right, values)]
            if row is not None:
                _expect_alike(node, given)
                found: Tensor = row.function(*given)
                return found.to(torch.float64)  # a comparison's is of truth values
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -value(operand, values)
        case ast.Call(func=ast.Name(id=name)):
            return _called(name, node, values)
    raise ValueError(f"`{ast.unparse(node)}` cannot be evaluated")


def _called(name: str, node: ast.Call, values: Mapping[str, Tensor]) -> Tensor:
    row = OPERATIONS.get(name)
    if row is None:
        tensors = {str(k): value(argument, values) for k, argument in enumerate(node.args)}
    else:
        tensors = {parameter: value(argument, values) for parameter, argument in row.arguments(node).items()}
    _expect_alike(node, [*tensors.values()])
    try:
        if row is None:
            return function(name)(*tensors.values())
        given: dict[str, Any] = {n: t if n in row.gradients or t.dim() else t.item() for n, t in tensors.items()}
        if "condition" in given:
            given["condition"] = tensors["condition"] != 0
        found: Tensor = row.function(**given)
    except TypeError as error:  # a number where only a tensor can be, or the reverse
        raise ValueError(f"`{ast.unparse(node)}` cannot be evaluated: {str(error).partition(chr(10))[0]}") from None
    return found.to(torch.float64)


def _expect_alike(node: ast.expr, tensors: Sequence[Tensor]) -> None:
    """Raise unless all that are no numbers have one shape."""
    if len({t.shape for t in tensors if t.dim()}) > 1:
        said = "the shapes differ; the product of a matrix and a vector is W @ x, or W x"
        raise ValueError(f"`{ast.unparse(node)}`: {said}")
