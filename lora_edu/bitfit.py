"""BitFit: of the whole model only the biases train (Ben Zaken et al. 2021, arXiv:2106.10199).

Nothing is added, so nothing is slower. The biases that train are copies: the old ones are put back by `remove_added`,
and forgotten by `merge_added`. Read `added_files` next.
"""

from collections.abc import Iterable

from torch import nn

from .added import Record
from .adding import check_plain, freeze, set_parameter
from .targets import is_inside, select_modules


def add_bitfit(model: nn.Module, modules_to_save: str | Iterable[str] = ()) -> nn.Module:
    """Let every bias of the model train, and the modules of `modules_to_save`; freeze everything else.

    A bias is a parameter whose name has the word "bias", such as the "in_proj_bias" of an attention. It trains in the
    dtype that it has: in half precision, small steps are rounded away.

    Raises ValueError, with the model as it was, if there is no bias (a Llama has none), the model has LoRA or another
    method, or a name matches nothing.
    """
    check_plain(model)
    saved = select_modules(model, modules_to_save)
    biases = {name: p for name, p in model.named_parameters(remove_duplicate=False) if _is_bias(name)}
    if not biases:
        raise ValueError("the model has no biases, so BitFit would train nothing")
    own = {name: p for name, p in biases.items() if not is_inside(name, saved)}
    freeze(model, Record("BitFit", {}, {}, own))
    copies = {p: nn.Parameter(p.detach().clone()) for p in own.values()}
    for name, p in own.items():
        set_parameter(model, name, copies[p])
    for name in saved:
        model.get_submodule(name).requires_grad_(True)
    return model


def _is_bias(name: str) -> bool:
    return "bias" in name.rpartition(".")[2].split("_")
