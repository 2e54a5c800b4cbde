"""A trace as a page: in a file, and in a notebook."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from .page.page import Readout, frame, page, write
from .record import Records

_LARGE = 2_000_000  # numbers, of 5 bytes each or so, in a notebook


class AsPage(ABC):
    """What the traces of a layer and of a model have in common."""

    @abstractmethod
    def _layers(self) -> dict[str, Records]:
        """Of each layer that was called, by its name.

        Raises:
            ValueError: one has several traces.
        """

    def to_html(
        self,
        path: str,
        tokens: Sequence[object] | None = None,
        sequence: int | None = 0,
        title: str | None = None,
        *,
        readout: Readout | Mapping[str, Readout] | None = None,
        beside: Mapping[str, AsPage] | None = None,
        name: str = "this",
        fragment: str = "",
    ) -> None:
        """Write a page to click through: the text, every gate of every unit, and each equation with its numbers.

        One file, which needs no network and no server. Take the trace with `halves=True` to see how much of a
        pre-activation comes from the input. Each number is kept in 16 bits, on a scale from its unit's least to its
        largest: it departs by half of a 65531st of that at most.

        Of a model the page shows all layers that were called; each must have read the same tokens, in one call.

        Args:
            path: the file, `.html`.
            tokens: what the steps are, one for each; default: their numbers.
            sequence: which of the batch; None for all of them, one behind the other.
            title: of the page; default: the kind of layer and the number of tokens.
            readout: the Linear that reads the last layer's h at every step, and what its outputs stand for, as
                `(model.fc, alphabet)`: the page shows what comes next, and what would without the chosen unit. Of
                several traces, one for each by name.
            beside: other traces over the same tokens, by name, to stand beside this one: another model's, or the
                same one's after training.
            name: of this one among them.
            fragment: where the page opens, as its own address has it behind `#`: "token=12&unit=3".

        Raises:
            OSError: the file cannot be written.
            TypeError: beside is no mapping of traces by name.
            ValueError: there is no such sequence, or not one token for each of its steps; a readout does not fit, or
                is of no trace that is there; two traces have one name; or a layer has several traces: write a page of
                one of `calls`.
        """
        if beside is not None:
            by_name = isinstance(beside, Mapping)
            wrong = [trace for trace in beside.values() if not isinstance(trace, AsPage)] if by_name else [beside]
            if wrong:
                raise TypeError(
                    f'beside should be traces by name, as {{"before": trace}}; got: {type(wrong[0]).__name__}'
                )
        if beside and name in beside:
            raise ValueError(f"name should differ from those of beside, {', '.join(beside)}; got {name!r}")
        traces = {name: self, **beside} if beside else {"": self}
        readouts = readout if isinstance(readout, Mapping) else {} if readout is None else {next(iter(traces)): readout}
        if unknown := [called for called in readouts if called not in traces]:
            there = ", ".join(traces) if beside else "the one trace"
            raise ValueError(f"readout should be of {there}; got {unknown[0]!r}")
        layers = {called: trace._layers() for called, trace in traces.items()}
        write(path, page(layers, tokens, sequence, title, readouts=readouts, fragment=fragment))

    def _repr_html_(self) -> str | None:
        """The page of the first sequence, for a notebook; none of gradients, nor where it would be very large.

        Of a model none either where a layer was called several times, or layers read different texts.
        """
        try:
            layers = self._layers()
        except ValueError:
            return None
        records = [record for of_layer in layers.values() for record in of_layer.values()]
        numbers = sum(t[:, :1].numel() for record in records for t in record.tensors.values())
        if not records or numbers > _LARGE or not all(record.of_a_run() and record.is_real() for record in records):
            return None
        if len({int(record.valid()[:, 0].sum()) for record in records}) > 1:
            return None
        return frame(page({"": layers}))
