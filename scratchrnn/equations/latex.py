"""Expressions and names of equations in LaTeX, within what matplotlib's mathtext reads, too."""

from __future__ import annotations

import ast

from .operations import OPERATIONS

TILDE = "\u0303"
"""Behind a letter it stands over it: c̃."""

_SIGNS = {ast.Gt: ">", ast.GtE: r"\geq", ast.Lt: "<", ast.LtE: r"\leq", ast.Eq: "=", ast.NotEq: r"\neq"}


def latex_name(name: str) -> str:
    r"""`f_pre` as `f_{\mathrm{pre}}`, `W_if` as `W_{if}`, `dn_x` as `\mathrm{d}n_{x}`, `n_x_2` as `n_{x,2}`,

    and of other notations `h_{t-1}` as it is, `c̃_t` as `\tilde{c}_{t}`.
    """
    head, _, below = name.partition("_")
    if not head:
        return rf"\mathrm{{{_upright(name)}}}"
    if head[0] == "d" and (len(head) == 2 or head[1:] in OPERATIONS):
        return r"\mathrm{d}" + latex_name(name[1:])
    if head[1:] == TILDE:
        head = rf"\tilde{{{head[0]}}}"
    elif len(head) > 1 and head[1:] != "'":
        head = rf"\mathrm{{{head}}}"
    if not below:
        return head
    if below.startswith("{"):
        return f"{head}_{below}"
    rest, _, k = below.rpartition("_")
    below, step = (rest, f",{k}") if rest and k.isdigit() else (below, "")
    below = _upright(below)
    return f"{head}_{{{below if len(below) <= 2 else rf'{chr(92)}mathrm{{{below}}}'}{step}}}"


def _upright(name: str) -> str:
    return name.replace("_", r"\_")


def latex(node: ast.expr, within: int = 0) -> str:
    """The expression, in parentheses where it stands in what binds more: 2 a first factor, 3 a later one, 4 a power."""
    match node:
        case ast.Name(id=name):
            return latex_name(name)
        case ast.Constant(value=value):
            return str(value)
        case ast.Attribute(value=of, attr="T"):
            return rf"{latex(of, 4)}^\top"
        case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords):
            row = OPERATIONS.get(name)
            function = (row and row.latex) or rf"\mathrm{{{_upright(name)}}}"
            if "{}" in function:
                return function.format(latex(args[0]))
            by_name = [rf"\mathrm{{{_upright(str(k.arg))}}} = {latex(k.value)}" for k in keywords]
            return f"{function}({', '.join([*map(latex, args), *by_name])})"
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            return f"[{latex(left)} {_SIGNS[type(op)]} {latex(right)}]"
        case ast.UnaryOp(operand=operand):
            return _in_parentheses(f"-{latex(operand, 2)}", within > 2)
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() as op, right=right):
            sign = "+" if isinstance(op, ast.Add) else "-"
            return _in_parentheses(f"{latex(left, 1)} {sign} {latex(right, 1 + (sign == '-'))}", within > 1)
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            return _in_parentheses(rf"\frac{{{latex(left)}}}{{{latex(right)}}}", within > 3)
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _in_parentheses(f"{latex(left, 4)}^{{{latex(right)}}}", within > 3)
        case ast.BinOp(left=left, op=op, right=right):
            of_numbers = _is_number(left) or _is_number(right)
            sign = r"\," if isinstance(op, ast.MatMult) else r"\cdot" if of_numbers else r"\odot"
            return _in_parentheses(rf"{latex(left, 2)} {sign} {latex(right, 3)}", within > 2)
    raise ValueError(f"no LaTeX for {ast.unparse(node)}")


def _in_parentheses(text: str, needed: bool) -> str:
    return f"({text})" if needed else text


def _is_number(node: ast.expr) -> bool:
    return not any(isinstance(part, ast.Name) for part in ast.walk(node))
