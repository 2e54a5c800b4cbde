"""What can be wrong, a row for each cause: its name, the changes of the reference that are it, and how to mend it."""

from .table import GRADIENTS, OTHERS, OUTPUTS, Row, variants
from .variant import Facts, Variant

__all__ = ["GRADIENTS", "OTHERS", "OUTPUTS", "Facts", "Row", "Variant", "variants"]
