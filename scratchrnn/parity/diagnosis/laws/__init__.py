"""What holds for any recurrent layer: judged by these laws, a layer needs no twin in torch.nn."""

from .layer import Layer
from .subjects import layers_of
from .table import LAWS, Broken, Law, judged_by, laws

__all__ = ["LAWS", "Broken", "Law", "Layer", "judged_by", "laws", "layers_of"]
